"""Forces and virials from K = dE/dP."""

import numpy as np

from ase_deeppot.potential.kernels.blocks import Blocks, argument
from ase_deeppot.potential.kernels.compilation import compiled
from ase_deeppot.potential.kernels.harmonics import add_turns
from ase_deeppot.potential.kernels.layout import (
    BEYOND,
    INVERSE,
    NEXT,
    NOW,
    SLOPE,
    TOGETHER,
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
    rows,
    stride,
)
from ase_deeppot.potential.kernels.matrices import copy

DEGREES = 4  # taken together; the order of a series is a multiple of it
# More rows of the room for sums: sum of T_k q_ak Y_a; then h_a, sums of T_k k_ak, of which order 1 becomes dE/dv.
ALONG, H, GX, GY, GZ = (U(row * WIDTH) for row in range(2, 7))


@compiled
def _slope_series(k: Array, bend: float, g: Array, q: Array) -> None:
    """Coefficients q [H, L] of d(s f)/ds, given those of the series f(x(s)), k [H, L]; g [L + 1] is room.

    d(s f)/ds = f + (1 - c (x + 1)/2) (x + 1) f' with c = b/(1 + b), for s dx/ds = (x + 1) (1 - c (x + 1)/2). f' has
    coefficients d_(l-1) = d_(l+1) + 2 l k_l, the first one halved; g are those of (x + 1) f', the first one doubled.
    With c > 0 the result has a term more than f, for which there is no place: the last k is zero then.
    """
    number, half = k.dtype.type, k.dtype.type(0.5)
    part = number(0.25 * bend / (1.0 + bend))
    most = number(1) - number(2) * part
    order = k.shape[1]
    g[order] = 0
    for c in range(len(k)):
        above = here = number(0)  # d_(l+1), d_l
        for degree in range(order - 1, 0, -1):
            below = above + number(2 * degree) * k[c, degree]
            g[degree] = here + half * (below + above)
            above, here = here, below
        g[0] = here + above
        q[c, 0] = k[c, 0] + most * half * g[0] - part * g[1]
        for degree in range(1, order):
            q[c, degree] = k[c, degree] + most * g[degree] - part * (g[degree - 1] + g[degree + 1])


@compiled
def _sum_gradients(b: int, blocks: Blocks, shape: Shape, k: Array, q: Array, room: Array) -> None:
    """dE/dv of the neighbours in block b into the rows GX, GY, GZ of the room."""
    value, o, n = blocks.value, U(b) * stride(blocks.l_max), filled(blocks.size[b])
    for e in range(n):
        room[e + ALONG] = 0
    for start in range(0, len(k), TOGETHER):
        _sum_slopes(value, o, n, start, k[start : start + TOGETHER], q[start : start + TOGETHER], room)
    if blocks.outside[b]:
        _continue_slopes(o, U(blocks.size[b]), value, k, shape, room)
    add_turns(value, o, n, blocks.l_max, H, room)
    for e in range(n):
        ux, uy, uz = value[o + e + UX], value[o + e + UY], value[o + e + UZ]
        gx, gy, gz = room[e + GX], room[e + GY], room[e + GZ]
        across = value[o + e + S] * value[o + e + INVERSE]
        radial = room[e + ALONG] * value[o + e + SLOPE] - across * (gx * ux + gy * uy + gz * uz)
        room[e + GX] = radial * ux + across * gx
        room[e + GY] = radial * uy + across * gy
        room[e + GZ] = radial * uz + across * gz


@compiled
def _sum_slopes(value: Array, o: np.uint64, n: np.uint64, start: int, k: Array, q: Array, room: Array) -> None:
    """Sums over the degrees for four harmonics from ``start`` on; k and q [4, L]."""
    half = k.dtype.type(0.5)
    y0, h0 = o + Y + U(start * WIDTH), H + U(start * WIDTH)
    y1, y2, y3 = y0 + U(WIDTH), y0 + U(2 * WIDTH), y0 + U(3 * WIDTH)
    h1, h2, h3 = h0 + U(WIDTH), h0 + U(2 * WIDTH), h0 + U(3 * WIDTH)
    for e in range(n):
        room[e + NOW] = 1
        room[e + NEXT] = value[o + e + TWICE_X] * half
        room[e + h0] = 0
        room[e + h1] = 0
        room[e + h2] = 0
        room[e + h3] = 0
    for l in range(0, k.shape[1], DEGREES):  # noqa: E741
        qa0, qb0, qc0, qd0 = q[0, l], q[0, l + 1], q[0, l + 2], q[0, l + 3]
        qa1, qb1, qc1, qd1 = q[1, l], q[1, l + 1], q[1, l + 2], q[1, l + 3]
        qa2, qb2, qc2, qd2 = q[2, l], q[2, l + 1], q[2, l + 2], q[2, l + 3]
        qa3, qb3, qc3, qd3 = q[3, l], q[3, l + 1], q[3, l + 2], q[3, l + 3]
        ka0, kb0, kc0, kd0 = k[0, l], k[0, l + 1], k[0, l + 2], k[0, l + 3]
        ka1, kb1, kc1, kd1 = k[1, l], k[1, l + 1], k[1, l + 2], k[1, l + 3]
        ka2, kb2, kc2, kd2 = k[2, l], k[2, l + 1], k[2, l + 2], k[2, l + 3]
        ka3, kb3, kc3, kd3 = k[3, l], k[3, l + 1], k[3, l + 2], k[3, l + 3]
        for e in range(n):
            ta, tb, x2 = room[e + NOW], room[e + NEXT], value[o + e + TWICE_X]
            tc = x2 * tb - ta
            td = x2 * tc - tb
            te = x2 * td - tc
            room[e + NOW] = te
            room[e + NEXT] = x2 * te - td
            q0 = ta * qa0 + tb * qb0 + tc * qc0 + td * qd0
            q1 = ta * qa1 + tb * qb1 + tc * qc1 + td * qd1
            q2 = ta * qa2 + tb * qb2 + tc * qc2 + td * qd2
            q3 = ta * qa3 + tb * qb3 + tc * qc3 + td * qd3
            room[e + ALONG] += q0 * value[e + y0] + q1 * value[e + y1] + q2 * value[e + y2] + q3 * value[e + y3]
            if start > 0:
                room[e + h0] += ta * ka0 + tb * kb0 + tc * kc0 + td * kd0
            room[e + h1] += ta * ka1 + tb * kb1 + tc * kc1 + td * kd1
            room[e + h2] += ta * ka2 + tb * kb2 + tc * kc2 + td * kd2
            room[e + h3] += ta * ka3 + tb * kb3 + tc * kc3 + td * kd3


@compiled
def _continue_slopes(o: np.uint64, n: np.uint64, value: Array, k: Array, shape: Shape, room: Array) -> None:
    """Set right the sums for neighbours that are closer than the series reaches."""
    for e in range(n):
        if value[o + e + BEYOND] > 0:
            along, slope = 0.0, argument(value[o + e + S], shape[0], shape[1])[1]
            for a in range(U(len(k))):
                at, h = e + a * U(WIDTH), 0.0
                for degree in range(k.shape[1]):
                    square = float(degree * degree)
                    t = 1.0 + square * value[o + e + BEYOND]
                    along += (t + slope * square) * k[a, degree] * value[o + at + Y]
                    h += t * k[a, degree]
                room[at + H] = h
            room[e + ALONG] = along


@compiled
def forces_and_virials(blocks: Blocks, shape: Shape, k: Array, centres: Array, j: Array, vectors: Array,
                       forces: Array, virials: Array) -> None:
    """Add what the pairs do to forces [N, 3] and atomic virials [N, 3, 3], from K = dE/dP [n, Y, T, L].

    What ``moments.pair_gradient`` and ``derivatives`` do, in one pass.
    """
    order, dtype, n_rows = k.shape[3], k.dtype, rows(blocks.l_max)
    room, g = np.empty((3 + n_rows) * WIDTH, dtype), np.empty(order + 1, dtype)
    k_t, q = np.zeros((n_rows, order), dtype), np.empty((n_rows, order), dtype)
    for a in range(k.shape[0]):
        if not k[a].any():
            continue  # as all atoms of other species, where the response of one is looked at
        fx = fy = fz = 0.0
        for t in range(k.shape[2]):
            row = a * k.shape[2] + t
            if blocks.first[row] < blocks.first[row + 1]:
                copy(k[a, :, t], k_t)
                _slope_series(k_t, shape[1], g, q)
            for b in range(blocks.first[row], blocks.first[row + 1]):
                _sum_gradients(b, blocks, shape, k_t, q, room)
                for e in range(U(blocks.size[b])):
                    pair = blocks.pair[U(b * WIDTH) + e]
                    gx, gy, gz = room[e + GX], room[e + GY], room[e + GZ]
                    neighbor = j[pair]
                    force, virial = forces[neighbor], virials[neighbor]
                    fx += gx
                    fy += gy
                    fz += gz
                    force[0] -= gx
                    force[1] -= gy
                    force[2] -= gz
                    for c in range(3):
                        v = vectors[pair, c]
                        virial[c, 0] -= v * gx
                        virial[c, 1] -= v * gy
                        virial[c, 2] -= v * gz
        own = forces[centres[a]]
        own[0] += fx
        own[1] += fy
        own[2] += fz
