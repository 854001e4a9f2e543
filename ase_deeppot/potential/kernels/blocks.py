"""Neighbours in blocks that loops can take in whole vectors."""

from typing import NamedTuple

import numpy as np

from ase_deeppot.potential.kernels.compilation import compiled
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
    filled,
    stride,
)

# Rows of a room, in double precision: a block's vectors, 1/r and x
VX, VY, VZ, NEARNESS, X = (U(row * WIDTH) for row in range(5))


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
    b, room = 0, np.empty(5 * WIDTH)
    for a in range(len(centres)):
        for t in range(len(closest)):
            blocks.first[a * len(closest) + t] = b
            n = 0
            for e in range(first[centres[a]], first[centres[a] + 1]):
                blocks.pair[b * WIDTH + n] = e
                n += types[j[e]] == t
                if n == WIDTH:
                    _fill_block(b, n, vectors, shape, t, room, closest, blocks)
                    b, n = b + 1, 0
            if n > 0:
                _fill_block(b, n, vectors, shape, t, room, closest, blocks)
                b += 1
    blocks.first[len(centres) * len(closest)] = b


@compiled
def argument(s: float, s_max: float, bend: float) -> tuple[float, float]:
    """x and s dx/ds, as ``moments.argument``."""
    share = 1.0 / (1.0 + bend / s_max * s)
    above = 2.0 * (1.0 + bend) / s_max * s * share
    return above - 1.0, above * share


@compiled
def _fill_block(b: int, n: int, vectors: Array, shape: Shape, t: int, room: Array, closest: Array,
                blocks: Blocks) -> None:
    value, origin, first = blocks.value, U(b) * stride(blocks.l_max), U(b * WIDTH)
    for k in range(U(n)):
        pair = U(blocks.pair[first + k])
        room[k + VX], room[k + VY], room[k + VZ] = vectors[pair, 0], vectors[pair, 1], vectors[pair, 2]
    _fill_rows(value, origin, n, shape, room)
    nearest, most = 1 / closest[t], 0.0
    for k in range(U(n)):
        nearest, most = max(nearest, room[k + NEARNESS]), max(most, room[k + X])
    fill(value, origin, n, blocks.l_max)
    blocks.size[b], blocks.outside[b], closest[t] = n, most > 1.0, 1 / nearest
    for k in range(U(n), filled(n)):
        for row in range(stride(blocks.l_max) // U(WIDTH)):
            value[origin + row * U(WIDTH) + k] = 0


@compiled
def _fill_rows(value: Array, origin: np.uint64, n: int, shape: Shape, room: Array) -> None:
    """All rows but the higher harmonics, and 1/r and x into the room; no maximum here, with which it would be slow."""
    s_max, bend, rcut_smth, rcut = shape
    for k in range(U(n)):
        vx, vy, vz = room[k + VX], room[k + VY], room[k + VZ]
        r2 = vx * vx + vy * vy + vz * vz
        inverse = 1.0 / np.sqrt(r2)
        q = min(max((r2 * inverse - rcut_smth) / (rcut - rcut_smth), 0.0), 1.0)
        s = (q * q * q * (q * (15.0 - 6.0 * q) - 10.0) + 1.0) * inverse
        x = argument(s, s_max, bend)[0]
        room[k + NEARNESS], room[k + X] = inverse, x
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
