"""The loops over pairs, compiled with numba: the sums of ``moments`` and their transpose, in vector instructions.

Used where numba is installed and the model runs on the CPU; ``moments`` says what is computed. The neighbours of
an atom are gathered by species into blocks of short rows, one for each quantity, filled up with weightless neighbours
to whole vectors. Every loop over them takes four degrees of the Chebyshev recursion at a time, whose coefficients
stay in registers.

Indices are unsigned: numba lets negative ones count from the end, and a loop that could meet one is not vectorised.
The rows of a block lie at fixed distances in one flat array: so the compiler sees that they do not overlap.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

Array = np.ndarray
Shape = tuple[float, float, float]  # s_max (1/A), rcut_smth, rcut (A)

LANES = 16  # the filled part of a row has a multiple of this length
DEGREES = 4  # taken together; the order of a series is a multiple of it
WIDTH = 96  # neighbours in a block
U = np.uint64
# Rows of a block of values: s, ds/dr, twice x (at most 1), x - 1 where that is positive, 1/r, u.
S, SLOPE, TWICE_X, BEYOND, INVERSE, UX, UY, UZ = (U(row * WIDTH) for row in range(8))
# Rows of the room for sums: T_l, T_(l+1), sum of T_l q_l (1, u), sums of T_l k_l.
NOW, NEXT, ALONG, GX, GY, GZ = (U(row * WIDTH) for row in range(6))
ROWS, ROOM = U(8 * WIDTH), U(6 * WIDTH)
FAST = {"reassoc", "contract", "nsz", "arcp"}  # nothing is assumed finite: NaN must come through
compiled = njit(cache=True, error_model="numpy", fastmath=FAST, nogil=True)


class Blocks(NamedTuple):
    """Neighbours of some centres: block b has up to WIDTH neighbours of one species around one centre.

    The blocks of species t around the a-th centre are ``first[a T + t]`` up to ``first[a T + t + 1]``.
    """

    first: Array  # [n T + 1] int64
    size: Array  # [B] int64, neighbours, without the weightless ones that fill it up
    outside: Array  # [B] bool, whether any of them is closer than the series reaches
    pair: Array  # [B * WIDTH] int64, which pair
    value: Array  # [B * ROWS], see S to UZ


def new_blocks(n_segments: int, n_pairs: int, dtype: np.dtype) -> Blocks:
    """Room for the neighbours of so many pairs of a centre and a species."""
    most = n_segments + n_pairs // WIDTH
    return Blocks(np.empty(n_segments + 1, np.int64), np.empty(most, np.int64), np.empty(most, np.bool_),
                  np.empty((most + 1) * WIDTH, np.int64), np.empty(most * int(ROWS), dtype))


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
    pair, value, origin = blocks.pair[b * WIDTH : b * WIDTH + n], blocks.value, U(b) * ROWS
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
        value[at + UX] = vx * inverse
        value[at + UY] = vy * inverse
        value[at + UZ] = vz * inverse
    blocks.size[b], blocks.outside[b], closest[t] = n, most > 1.0, 1 / nearest
    for k in range(U(n), _filled(n)):
        for row in range(U(8)):
            value[origin + row * U(WIDTH) + k] = 0


@compiled
def _filled(n: int) -> np.uint64:
    return U((n + LANES - 1) // LANES * LANES)


@compiled
def _add_moments(b: int, blocks: Blocks, room: Array, p: Array) -> None:
    """Add what block b does to the moments [4, L]: sum of s T_l(x) (1, u)."""
    value, o, n, zero, half = blocks.value, U(b) * ROWS, _filled(blocks.size[b]), p.dtype.type(0), p.dtype.type(0.5)
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
    room = np.empty(ROOM, p.dtype)
    p[:] = 0
    for a in range(p.shape[0]):
        for t in range(p.shape[2]):
            row = a * p.shape[2] + t
            for b in range(blocks.first[row], blocks.first[row + 1]):
                _add_moments(b, blocks, room, p[a, :, t])


@compiled
def _slope_series(k: Array, d: Array, q: Array) -> None:
    """Coefficients q [4, L] of d(s f)/ds, given those of the series f(x(s)), k [4, L]; d [4, L + 1] is room.

    d(s f)/ds = f + (x + 1) f', for x + 1 is proportional to s; f' has coefficients d_(l-1) = d_(l+1) + 2 l k_l.
    """
    order, half = k.shape[1], k.dtype.type(0.5)
    d[:, order] = d[:, order - 1] = 0
    for degree in range(order - 1, 0, -1):
        twice = k.dtype.type(2 * degree)
        for c in range(4):
            d[c, degree - 1] = d[c, degree + 1] + twice * k[c, degree]
    d[:, 0] *= half
    for c in range(4):
        q[c, 0] = k[c, 0] + d[c, 0] + half * d[c, 1]
        q[c, 1] = k[c, 1] + d[c, 1] + d[c, 0] + half * d[c, 2]
        for degree in range(2, order):
            q[c, degree] = k[c, degree] + d[c, degree] + half * (d[c, degree - 1] + d[c, degree + 1])


@compiled
def _sum_slopes(b: int, blocks: Blocks, s_max: float, k: Array, q: Array, room: Array) -> None:
    """dE/dv of the neighbours in block b into the rows GX, GY, GZ of the room."""
    value, o, n, half = blocks.value, U(b) * ROWS, _filled(blocks.size[b]), k.dtype.type(0.5)
    for e in range(n):
        room[e + NOW] = 1
        room[e + NEXT] = value[o + e + TWICE_X] * half
        room[e + ALONG] = 0
        room[e + GX] = 0
        room[e + GY] = 0
        room[e + GZ] = 0
    for l in range(0, k.shape[1], DEGREES):  # noqa: E741
        qa0, qb0, qc0, qd0 = q[0, l], q[0, l + 1], q[0, l + 2], q[0, l + 3]
        qa1, qb1, qc1, qd1 = q[1, l], q[1, l + 1], q[1, l + 2], q[1, l + 3]
        qa2, qb2, qc2, qd2 = q[2, l], q[2, l + 1], q[2, l + 2], q[2, l + 3]
        qa3, qb3, qc3, qd3 = q[3, l], q[3, l + 1], q[3, l + 2], q[3, l + 3]
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
            room[e + ALONG] += q0 + q1 * value[o + e + UX] + q2 * value[o + e + UY] + q3 * value[o + e + UZ]
            room[e + GX] += ta * ka1 + tb * kb1 + tc * kc1 + td * kd1
            room[e + GY] += ta * ka2 + tb * kb2 + tc * kc2 + td * kd2
            room[e + GZ] += ta * ka3 + tb * kb3 + tc * kc3 + td * kd3
    if blocks.outside[b]:
        _continue_slopes(o, U(blocks.size[b]), value, k, s_max, room)
    for e in range(n):
        ux, uy, uz = value[o + e + UX], value[o + e + UY], value[o + e + UZ]
        gx, gy, gz = room[e + GX], room[e + GY], room[e + GZ]
        across = value[o + e + S] * value[o + e + INVERSE]
        radial = room[e + ALONG] * value[o + e + SLOPE] - across * (gx * ux + gy * uy + gz * uz)
        room[e + GX] = radial * ux + across * gx
        room[e + GY] = radial * uy + across * gy
        room[e + GZ] = radial * uz + across * gz


@compiled
def _continue_slopes(o: np.uint64, n: np.uint64, value: Array, k: Array, s_max: float, room: Array) -> None:
    """Set right the sums for neighbours that are closer than the series reaches."""
    for e in range(n):
        if value[o + e + BEYOND] > 0:
            ux, uy, uz = value[o + e + UX], value[o + e + UY], value[o + e + UZ]
            along = gx = gy = gz = 0.0
            for degree in range(k.shape[1]):
                square = float(degree * degree)
                t = 1.0 + square * value[o + e + BEYOND]
                slope = t + value[o + e + S] * square * 2.0 / s_max
                along += slope * (k[0, degree] + k[1, degree] * ux + k[2, degree] * uy + k[3, degree] * uz)
                gx += t * k[1, degree]
                gy += t * k[2, degree]
                gz += t * k[3, degree]
            room[e + ALONG], room[e + GX], room[e + GY], room[e + GZ] = along, gx, gy, gz


@compiled
def pair_gradient(blocks: Blocks, s_max: float, k: Array, gradient: Array) -> None:
    """Fill dE/dv [E, 3] from K = dE/dP [n, 4, T, L]."""
    room, q, d = np.empty(ROOM, k.dtype), np.empty((4, k.shape[3]), k.dtype), np.empty((4, k.shape[3] + 1), k.dtype)
    for a in range(k.shape[0]):
        for t in range(k.shape[2]):
            row = a * k.shape[2] + t
            if blocks.first[row] < blocks.first[row + 1]:
                _slope_series(k[a, :, t], d, q)
            for b in range(blocks.first[row], blocks.first[row + 1]):
                _sum_slopes(b, blocks, s_max, k[a, :, t], q, room)
                for e in range(U(blocks.size[b])):
                    pair = blocks.pair[U(b * WIDTH) + e]
                    gradient[pair, 0], gradient[pair, 1] = room[e + GX], room[e + GY]
                    gradient[pair, 2] = room[e + GZ]


@compiled
def forces_and_virials(blocks: Blocks, s_max: float, k: Array, centres: Array, j: Array, vectors: Array,
                       forces: Array, virials: Array) -> None:
    """Add what the pairs do to forces [N, 3] and atomic virials [N, 3, 3], from K = dE/dP [n, 4, T, L].

    ``pair_gradient`` followed by what ``derivatives`` does, in one pass.
    """
    room, q, d = np.empty(ROOM, k.dtype), np.empty((4, k.shape[3]), k.dtype), np.empty((4, k.shape[3] + 1), k.dtype)
    for a in range(k.shape[0]):
        fx = fy = fz = 0.0
        for t in range(k.shape[2]):
            row = a * k.shape[2] + t
            if blocks.first[row] < blocks.first[row + 1]:
                _slope_series(k[a, :, t], d, q)
            for b in range(blocks.first[row], blocks.first[row + 1]):
                _sum_slopes(b, blocks, s_max, k[a, :, t], q, room)
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
