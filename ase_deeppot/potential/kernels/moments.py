"""The moments of the environments."""

import numpy as np

from ase_deeppot.potential.kernels.blocks import Blocks
from ase_deeppot.potential.kernels.compilation import compiled
from ase_deeppot.potential.kernels.layout import (
    BEYOND,
    NEXT,
    NOW,
    TOGETHER,
    TWICE_X,
    WIDTH,
    Array,
    S,
    U,
    Y,
    filled,
    stride,
)


@compiled
def _add_moments(b: int, blocks: Blocks, start: int, room: Array, p: Array) -> None:
    """Add what block b does to the moments p [up to 4, L] of four harmonics from ``start`` on: sum of s T_k(x) Y_a."""
    value, o, n = blocks.value, U(b) * stride(blocks.l_max), filled(blocks.size[b])
    zero, half = p.dtype.type(0), p.dtype.type(0.5)
    y0 = o + Y + U(start * WIDTH)
    y1, y2, y3 = y0 + U(WIDTH), y0 + U(2 * WIDTH), y0 + U(3 * WIDTH)
    for e in range(n):
        room[e + NOW] = value[o + e + S]
        room[e + NEXT] = value[o + e + S] * value[o + e + TWICE_X] * half
    for l in range(0, p.shape[1], 2):  # noqa: E741  # their eight sums stay in registers
        a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = zero
        for e in range(n):
            ta, tb, x2 = room[e + NOW], room[e + NEXT], value[o + e + TWICE_X]
            tc = x2 * tb - ta
            room[e + NOW] = tc
            room[e + NEXT] = x2 * tc - tb
            v0, v1, v2, v3 = value[e + y0], value[e + y1], value[e + y2], value[e + y3]
            a0 += ta * v0
            a1 += ta * v1
            a2 += ta * v2
            a3 += ta * v3
            b0 += tb * v0
            b1 += tb * v1
            b2 += tb * v2
            b3 += tb * v3
        for c, two in enumerate(((a0, b0), (a1, b1), (a2, b2), (a3, b3))):
            if c < p.shape[0]:
                p[c, l] += two[0]
                p[c, l + 1] += two[1]


@compiled
def _continue_moments(o: np.uint64, n: np.uint64, value: Array, p: Array) -> None:
    """What is missing of the neighbours that are closer than the series reaches: T_k(x) = 1 + k^2 (x - 1) there."""
    for e in range(n):
        for degree in range(p.shape[1]):
            more = value[o + e + S] * value[o + e + BEYOND] * degree * degree
            for a in range(p.shape[0]):
                p[a, degree] += more * value[o + e + Y + U(a * WIDTH)]


@compiled
def moments(blocks: Blocks, p: Array) -> None:
    """Fill P [n, Y, T, L]."""
    room = np.empty(2 * WIDTH, p.dtype)
    p[:] = 0
    for a in range(p.shape[0]):
        for t in range(p.shape[2]):
            row = a * p.shape[2] + t
            for b in range(blocks.first[row], blocks.first[row + 1]):
                for start in range(0, p.shape[1], TOGETHER):
                    _add_moments(b, blocks, start, room, p[a, start : start + TOGETHER, t])
                if blocks.outside[b]:
                    _continue_moments(U(b) * stride(blocks.l_max), U(blocks.size[b]), blocks.value, p[a, :, t])
