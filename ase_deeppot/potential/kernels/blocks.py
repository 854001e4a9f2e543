"""Neighbours in blocks that loops can take in whole vectors."""

from typing import NamedTuple

import numpy as np

from ase_deeppot.potential.kernels.harmonics import fill
from ase_deeppot.potential.kernels.layout import (
    BEYOND,
    INVERSE,
    SLOPE,
    TWICE_X,
    UX,
    UY,
    UZ,
    WIDTH,
    Array,
    S,
    Shape,
    U,
    Y,
    compiled,
    filled,
    stride,
)


class Blocks(NamedTuple):
    """Neighbours of some centres: block b has up to WIDTH neighbours of one species around one centre.

    The blocks of species t around the a-th centre are ``first[a T + t]`` up to ``first[a T + t + 1]``.
    """

    first: Array  # [n T + 1] int64
    size: Array  # [B] int64, neighbours, without the weightless ones that fill it up
    outside: Array  # [B] bool, whether any of them is closer than the series reaches
    pair: Array  # [B * WIDTH] int64, which pair
    value: Array  # [B * (5 + H) * WIDTH], see S to Y
    l_max: int  # highest order of the harmonics


def new_blocks(n_segments: int, n_pairs: int, dtype: np.dtype, l_max: int) -> Blocks:
    """Room for the neighbours of so many pairs of a centre and a species."""
    most = n_segments + n_pairs // WIDTH
    return Blocks(np.empty(n_segments + 1, np.int64), np.empty(most, np.int64), np.empty(most, np.bool_),
                  np.empty((most + 1) * WIDTH, np.int64), np.empty(most * int(stride(l_max)), dtype), l_max)


def suffices(blocks: Blocks, n_segments: int, n_pairs: int) -> bool:
    """Whether there is room for so many pairs of a centre and a species."""
    return len(blocks.first) > n_segments and len(blocks.size) >= n_segments + n_pairs // WIDTH


@compiled
def gather(centres: Array, first: Array, types: Array, j: Array, vectors: Array, shape: Shape, closest: Array,
           blocks: Blocks) -> None:
    """Fill the blocks with the pairs ``first[i]:first[i + 1]`` of each centre i; lower ``closest`` [T], A."""
    b = 0
    for a in range(len(centres)):
        for t in range(len(closest)):
            blocks.first[a * len(closest) + t] = b
            n = 0
            for e in range(first[centres[a]], first[centres[a] + 1]):
                blocks.pair[b * WIDTH + n] = e
                n += types[j[e]] == t
                if n == WIDTH:
                    _fill_block(b, n, vectors, shape, t, closest, blocks)
                    b, n = b + 1, 0
            if n > 0:
                _fill_block(b, n, vectors, shape, t, closest, blocks)
                b += 1
    blocks.first[len(centres) * len(closest)] = b


@compiled
def _fill_block(b: int, n: int, vectors: Array, shape: Shape, t: int, closest: Array, blocks: Blocks) -> None:
    s_max, rcut_smth, rcut = shape
    pair, value, origin = blocks.pair[b * WIDTH : b * WIDTH + n], blocks.value, U(b) * stride(blocks.l_max)
    nearest, most = 1 / closest[t], 0.0
    for k in range(U(n)):
        vx, vy, vz = vectors[pair[k], 0], vectors[pair[k], 1], vectors[pair[k], 2]
        r2 = vx * vx + vy * vy + vz * vz
        inverse = 1.0 / np.sqrt(r2)
        q = min(max((r2 * inverse - rcut_smth) / (rcut - rcut_smth), 0.0), 1.0)
        s = (q * q * q * (q * (15.0 - 6.0 * q) - 10.0) + 1.0) * inverse
        x = 2.0 / s_max * s - 1.0
        nearest, most = max(nearest, inverse), max(most, x)
        at = origin + k
        value[at + S] = s
        value[at + SLOPE] = (-30.0 / (rcut - rcut_smth) * (q * (1.0 - q)) ** 2 - s) * inverse
        value[at + TWICE_X] = 2.0 * min(x, 1.0)
        value[at + BEYOND] = max(x - 1.0, 0.0)
        value[at + INVERSE] = inverse
        value[at + Y] = 1.0
        value[at + UX] = vx * inverse
        value[at + UY] = vy * inverse
        value[at + UZ] = vz * inverse
    fill(value, origin, n, blocks.l_max)
    blocks.size[b], blocks.outside[b], closest[t] = n, most > 1.0, 1 / nearest
    for k in range(U(n), filled(n)):
        for row in range(stride(blocks.l_max) // U(WIDTH)):
            value[origin + row * U(WIDTH) + k] = 0
