"""The transpose of ``forces_and_virials``, for training: forces are linear in K = dE/dP."""

import numpy as np

from ase_deeppot.potential.kernels.blocks import (
    BEYOND,
    INVERSE,
    NEXT,
    NOW,
    ROWS,
    SLOPE,
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

# Rows of the second room: weights of T_l (three), of dB_l/ds (four).
X1, X2, X3, Y0, Y1, Y2, Y3 = (U(row * WIDTH) for row in range(7))


@compiled
def forces_and_virials_backward(blocks: Blocks, s_max: float, centres: Array, j: Array, vectors: Array, f_bar: Array,
                                v_bar: Array, k_bar: Array) -> None:
    """Fill dL/dK [n, 4, T, L] from dL/dF [N, 3] and dL/dW [N, 3, 3]."""
    order, dtype = k_bar.shape[3], k_bar.dtype
    room, weight = np.zeros(int(2 * WIDTH), dtype), np.zeros(int(7 * WIDTH), dtype)
    slopes, d = np.empty((4, order), dtype), np.empty((4, order + 1), dtype)
    for a in range(k_bar.shape[0]):
        for t in range(k_bar.shape[2]):
            row = a * k_bar.shape[2] + t
            k = k_bar[a, :, t]
            k[:] = 0
            slopes[:] = 0
            for b in range(blocks.first[row], blocks.first[row + 1]):
                _weigh(b, blocks, centres[a], j, vectors, f_bar, v_bar, weight)
                if blocks.outside[b]:
                    _continue_sums(b, blocks, s_max, weight, k)
                _add_sums(b, blocks, weight, room, k, slopes)
            if blocks.first[row] < blocks.first[row + 1]:
                _slope_series_backward(slopes, d, k)


@compiled
def _weigh(b: int, blocks: Blocks, i: int, j: Array, vectors: Array, f_bar: Array, v_bar: Array,
           weight: Array) -> None:
    """With g = dL/d(dE/dv): s/r times the part of g across the pair, and ds/dr times that along it, times (1, u)."""
    value, o, n = blocks.value, U(b) * ROWS, U(blocks.size[b])
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
        along = gx * ux + gy * uy + gz * uz
        across = value[o + e + S] * value[o + e + INVERSE]
        weight[e + X1] = across * (gx - along * ux)
        weight[e + X2] = across * (gy - along * uy)
        weight[e + X3] = across * (gz - along * uz)
        along *= value[o + e + SLOPE]
        weight[e + Y0] = along
        weight[e + Y1] = along * ux
        weight[e + Y2] = along * uy
        weight[e + Y3] = along * uz
    for e in range(n, filled(blocks.size[b])):
        for row in range(U(7)):
            weight[row * U(WIDTH) + e] = 0


@compiled
def _add_sums(b: int, blocks: Blocks, weight: Array, room: Array, k: Array, slopes: Array) -> None:
    """Add sum_e T_l X_e to k [4, L] and sum_e T_l Y_e to slopes [4, L]."""
    value, o, n, zero, half = blocks.value, U(b) * ROWS, filled(blocks.size[b]), k.dtype.type(0), k.dtype.type(0.5)
    for e in range(n):
        room[e + NOW] = 1
        room[e + NEXT] = value[o + e + TWICE_X] * half
    for l in range(0, k.shape[1], 2):  # noqa: E741
        xa1 = xa2 = xa3 = ya0 = ya1 = ya2 = ya3 = zero
        xb1 = xb2 = xb3 = yb0 = yb1 = yb2 = yb3 = zero
        for e in range(n):
            ta, tb, x2 = room[e + NOW], room[e + NEXT], value[o + e + TWICE_X]
            tc = x2 * tb - ta
            room[e + NOW] = tc
            room[e + NEXT] = x2 * tc - tb
            w1, w2, w3 = weight[e + X1], weight[e + X2], weight[e + X3]
            v0, v1, v2, v3 = weight[e + Y0], weight[e + Y1], weight[e + Y2], weight[e + Y3]
            xa1 += ta * w1
            xa2 += ta * w2
            xa3 += ta * w3
            ya0 += ta * v0
            ya1 += ta * v1
            ya2 += ta * v2
            ya3 += ta * v3
            xb1 += tb * w1
            xb2 += tb * w2
            xb3 += tb * w3
            yb0 += tb * v0
            yb1 += tb * v1
            yb2 += tb * v2
            yb3 += tb * v3
        m = l + 1
        k[1, l] += xa1
        k[2, l] += xa2
        k[3, l] += xa3
        k[1, m] += xb1
        k[2, m] += xb2
        k[3, m] += xb3
        slopes[0, l] += ya0
        slopes[1, l] += ya1
        slopes[2, l] += ya2
        slopes[3, l] += ya3
        slopes[0, m] += yb0
        slopes[1, m] += yb1
        slopes[2, m] += yb2
        slopes[3, m] += yb3


@compiled
def _continue_sums(b: int, blocks: Blocks, s_max: float, weight: Array, k: Array) -> None:
    """Add all that the neighbours do which are closer than the series reaches, and make them weightless."""
    value, o, n = blocks.value, U(b) * ROWS, U(blocks.size[b])
    for e in range(n):
        beyond = value[o + e + BEYOND]
        if beyond > 0:
            for degree in range(k.shape[1]):
                square = float(degree * degree)
                t = 1.0 + square * beyond
                slope = t + value[o + e + S] * square * 2.0 / s_max
                k[0, degree] += slope * weight[e + Y0]
                k[1, degree] += slope * weight[e + Y1] + t * weight[e + X1]
                k[2, degree] += slope * weight[e + Y2] + t * weight[e + X2]
                k[3, degree] += slope * weight[e + Y3] + t * weight[e + X3]
            for row in range(U(7)):
                weight[row * U(WIDTH) + e] = 0


@compiled
def _slope_series_backward(q: Array, d: Array, k: Array) -> None:
    """Add the transpose of ``kernels._slope_series`` at q [4, L] to k [4, L]; d [4, L + 1] is room."""
    order, half = q.shape[1], q.dtype.type(0.5)
    d[:] = 0
    for c in range(4):
        for degree in range(order):
            k[c, degree] += q[c, degree]
            d[c, degree] += q[c, degree]
            d[c, degree + 1] += half * q[c, degree]
            if degree > 0:
                d[c, degree - 1] += half * q[c, degree]
        d[c, 0] += half * q[c, 1]
        d[c, 0] *= half
    for degree in range(1, order):
        twice = k.dtype.type(2 * degree)
        for c in range(4):
            k[c, degree] += twice * d[c, degree - 1]
            d[c, degree + 1] += d[c, degree - 1]
