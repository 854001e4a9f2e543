"""The transpose of ``forces_and_virials``, for training: forces are linear in K = dE/dP."""

import numpy as np

from ase_deeppot.potential.kernels.blocks import Blocks, argument
from ase_deeppot.potential.kernels.compilation import compiled
from ase_deeppot.potential.kernels.harmonics import spread
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


@compiled
def forces_and_virials_backward(blocks: Blocks, shape: Shape, centres: Array, j: Array, vectors: Array, f_bar: Array,
                                v_bar: Array, k_bar: Array) -> None:
    """Fill dL/dK [n, Y, T, L] from dL/dF [N, 3] and dL/dW [N, 3, 3]."""
    order, dtype, n_rows = k_bar.shape[3], k_bar.dtype, rows(blocks.l_max)
    room, d = np.zeros(2 * WIDTH, dtype), np.empty((n_rows, order + 1), dtype)
    across, along = np.zeros(n_rows * WIDTH, dtype), np.zeros(n_rows * WIDTH, dtype)
    k, slopes = np.empty((n_rows, order), dtype), np.empty((n_rows, order), dtype)
    m = np.empty((n_rows, order), dtype)
    for a in range(k_bar.shape[0]):
        for t in range(k_bar.shape[2]):
            row = a * k_bar.shape[2] + t
            k[:] = 0
            slopes[:] = 0
            for b in range(blocks.first[row], blocks.first[row + 1]):
                _weigh(b, blocks, centres[a], j, vectors, f_bar, v_bar, across, along)
                if blocks.outside[b]:
                    _continue_sums(b, blocks, shape, across, along, k)
                for start in range(0, n_rows, TOGETHER):
                    _add_sums(b, blocks, start, across, along, room, k, slopes)
            if blocks.first[row] < blocks.first[row + 1]:
                _slope_series_backward(slopes, shape[1], m, d, k)
            copy(k[: k_bar.shape[1]], k_bar[a, :, t])


@compiled
def _weigh(b: int, blocks: Blocks, i: int, j: Array, vectors: Array, f_bar: Array, v_bar: Array, across: Array,
           along: Array) -> None:
    """With g = dL/d(dE/dv), in row a: s/r times g's part across the pair . dY_a/du; ds/dr times that along it, Y_a."""
    value, o, n = blocks.value, U(b) * stride(blocks.l_max), U(blocks.size[b])
    for e in range(n):
        pair = blocks.pair[U(b * WIDTH) + e]
        k = j[pair]
        gx, gy, gz = f_bar[i, 0] - f_bar[k, 0], f_bar[i, 1] - f_bar[k, 1], f_bar[i, 2] - f_bar[k, 2]
        for c in range(3):
            v = vectors[pair, c]
            gx -= v * v_bar[k, c, 0]
            gy -= v * v_bar[k, c, 1]
            gz -= v * v_bar[k, c, 2]
        ux, uy, uz = value[o + e + UX], value[o + e + UY], value[o + e + UZ]
        g = gx * ux + gy * uy + gz * uz
        scale = value[o + e + S] * value[o + e + INVERSE]
        across[e] = 0
        across[e + U(WIDTH)] = scale * (gx - g * ux)
        across[e + U(2 * WIDTH)] = scale * (gy - g * uy)
        across[e + U(3 * WIDTH)] = scale * (gz - g * uz)
        along[e] = g * value[o + e + SLOPE]
    spread(value, o, n, blocks.l_max, across)
    for a in range(U(1), U(rows(blocks.l_max))):
        for e in range(n):
            along[e + a * U(WIDTH)] = along[e] * value[o + e + Y + a * U(WIDTH)]
    for a in range(U(rows(blocks.l_max))):
        for e in range(n, filled(blocks.size[b])):
            across[e + a * U(WIDTH)] = 0
            along[e + a * U(WIDTH)] = 0


@compiled
def _add_sums(b: int, blocks: Blocks, start: int, across: Array, along: Array, room: Array, k: Array,
              slopes: Array) -> None:
    """Add sum_e T_k X_ae to k [H, L] and sum_e T_k Y_ae to slopes [H, L], for four rows a from ``start`` on."""
    value, o, n = blocks.value, U(b) * stride(blocks.l_max), filled(blocks.size[b])
    zero, half = k.dtype.type(0), k.dtype.type(0.5)
    r0 = U(start * WIDTH)
    r1, r2, r3 = r0 + U(WIDTH), r0 + U(2 * WIDTH), r0 + U(3 * WIDTH)
    for e in range(n):
        room[e + NOW] = 1
        room[e + NEXT] = value[o + e + TWICE_X] * half
    for l in range(0, k.shape[1], 2):  # noqa: E741
        xa0 = xa1 = xa2 = xa3 = ya0 = ya1 = ya2 = ya3 = zero
        xb0 = xb1 = xb2 = xb3 = yb0 = yb1 = yb2 = yb3 = zero
        for e in range(n):
            ta, tb, x2 = room[e + NOW], room[e + NEXT], value[o + e + TWICE_X]
            tc = x2 * tb - ta
            room[e + NOW] = tc
            room[e + NEXT] = x2 * tc - tb
            w0, w1, w2, w3 = across[e + r0], across[e + r1], across[e + r2], across[e + r3]
            v0, v1, v2, v3 = along[e + r0], along[e + r1], along[e + r2], along[e + r3]
            xa0 += ta * w0
            xa1 += ta * w1
            xa2 += ta * w2
            xa3 += ta * w3
            ya0 += ta * v0
            ya1 += ta * v1
            ya2 += ta * v2
            ya3 += ta * v3
            xb0 += tb * w0
            xb1 += tb * w1
            xb2 += tb * w2
            xb3 += tb * w3
            yb0 += tb * v0
            yb1 += tb * v1
            yb2 += tb * v2
            yb3 += tb * v3
        for c, two in enumerate(((xa0, xb0), (xa1, xb1), (xa2, xb2), (xa3, xb3))):
            k[start + c, l] += two[0]
            k[start + c, l + 1] += two[1]
        for c, two in enumerate(((ya0, yb0), (ya1, yb1), (ya2, yb2), (ya3, yb3))):
            slopes[start + c, l] += two[0]
            slopes[start + c, l + 1] += two[1]


@compiled
def _continue_sums(b: int, blocks: Blocks, shape: Shape, across: Array, along: Array, k: Array) -> None:
    """Add all that the neighbours do which are closer than the series reaches, and make them weightless."""
    value, o, n = blocks.value, U(b) * stride(blocks.l_max), U(blocks.size[b])
    for e in range(n):
        beyond = value[o + e + BEYOND]
        if beyond > 0:
            slope_x = argument(value[o + e + S], shape[0], shape[1])[1]  # s dx/ds
            for a in range(U(len(k))):
                at = e + a * U(WIDTH)
                for degree in range(k.shape[1]):
                    square = float(degree * degree)
                    t = 1.0 + square * beyond
                    slope = t + slope_x * square
                    k[a, degree] += slope * along[at] + t * across[at]
                across[at] = 0
                along[at] = 0


@compiled
def _multiply_backward(q: Array, bend: float, m: Array) -> None:
    """m, the transpose at q [H, L] of a series' product with 1 - c (x + 1)/2, of which its last term is left out."""
    order, part = q.shape[1], q.dtype.type(0.25 * bend / (1.0 + bend))
    most = q.dtype.type(1) - part - part
    for c in range(len(q)):
        for degree in range(order):
            below = q[c, degree - 1] if degree > 0 else q.dtype.type(0)
            above = q[c, degree + 1] if degree + 1 < order else q.dtype.type(0)
            m[c, degree] = most * q[c, degree] - part * (below + above)
        m[c, 0] -= part * q[c, 1]


@compiled
def _slope_series_backward(q: Array, bend: float, m: Array, d: Array, k: Array) -> None:
    """Add the transpose of ``forces._slope_series`` at q [H, L] to k [H, L]; m [H, L] and d [H, L + 1] are room."""
    order, half = q.shape[1], q.dtype.type(0.5)
    d[:] = 0
    _multiply_backward(q, bend, m)
    for c in range(len(q)):
        for degree in range(order):
            k[c, degree] += q[c, degree]
            d[c, degree] += m[c, degree]
            d[c, degree + 1] += half * m[c, degree]
            if degree > 0:
                d[c, degree - 1] += half * m[c, degree]
        d[c, 0] += half * m[c, 1]
        d[c, 0] *= half
    for degree in range(1, order):
        twice = k.dtype.type(2 * degree)
        for c in range(len(q)):
            k[c, degree] += twice * d[c, degree - 1]
            d[c, degree + 1] += d[c, degree - 1]
