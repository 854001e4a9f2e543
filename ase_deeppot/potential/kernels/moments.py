"""The moments of the environments."""

import numpy as np

from ase_deeppot.potential.kernels.blocks import (
    BEYOND,
    NEXT,
    NOW,
    ROWS,
    TWICE_X,
    UX,
    UY,
    UZ,
    WIDTH,
    Array,
    Blocks,
    S,
    U,
    compiled,
    filled,
)

DEGREES = 4  # taken together; the order of a series is a multiple of it


@compiled
def _add_moments(b: int, blocks: Blocks, room: Array, p: Array) -> None:
    """Add what block b does to the moments [4, L]: sum of s T_l(x) (1, u)."""
    value, o, n, zero, half = blocks.value, U(b) * ROWS, filled(blocks.size[b]), p.dtype.type(0), p.dtype.type(0.5)
    for e in range(n):
        room[e + NOW] = value[o + e + S]
        room[e + NEXT] = value[o + e + S] * value[o + e + TWICE_X] * half
    for l in range(0, p.shape[1], DEGREES):  # noqa: E741
        a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = zero
        c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = zero
        for e in range(n):
            ta, tb, x2 = room[e + NOW], room[e + NEXT], value[o + e + TWICE_X]
            tc = x2 * tb - ta
            td = x2 * tc - tb
            te = x2 * td - tc
            room[e + NOW] = te
            room[e + NEXT] = x2 * te - td
            ux, uy, uz = value[o + e + UX], value[o + e + UY], value[o + e + UZ]
            a0 += ta
            a1 += ta * ux
            a2 += ta * uy
            a3 += ta * uz
            b0 += tb
            b1 += tb * ux
            b2 += tb * uy
            b3 += tb * uz
            c0 += tc
            c1 += tc * ux
            c2 += tc * uy
            c3 += tc * uz
            d0 += td
            d1 += td * ux
            d2 += td * uy
            d3 += td * uz
        for c, four in enumerate(((a0, b0, c0, d0), (a1, b1, c1, d1), (a2, b2, c2, d2), (a3, b3, c3, d3))):
            for k in range(DEGREES):
                p[c, l + k] += four[k]
    if blocks.outside[b]:
        _continue_moments(o, U(blocks.size[b]), value, p)


@compiled
def _continue_moments(o: np.uint64, n: np.uint64, value: Array, p: Array) -> None:
    """What is missing of the neighbours that are closer than the series reaches: T_l(x) = 1 + l^2 (x - 1) there."""
    for e in range(n):
        for degree in range(p.shape[1]):
            more = value[o + e + S] * value[o + e + BEYOND] * degree * degree
            p[0, degree] += more
            p[1, degree] += more * value[o + e + UX]
            p[2, degree] += more * value[o + e + UY]
            p[3, degree] += more * value[o + e + UZ]


@compiled
def moments(blocks: Blocks, p: Array) -> None:
    """Fill P [n, 4, T, L]."""
    room = np.empty(2 * WIDTH, p.dtype)
    p[:] = 0
    for a in range(p.shape[0]):
        for t in range(p.shape[2]):
            row = a * p.shape[2] + t
            for b in range(blocks.first[row], blocks.first[row + 1]):
                _add_moments(b, blocks, room, p[a, :, t])
