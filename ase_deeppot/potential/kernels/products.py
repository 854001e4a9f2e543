"""From moments to the input of the folded fitting net, and back: ``folded.FoldedSpecies`` in compiled loops."""

import numpy as np

from ase_deeppot.potential.kernels.layout import Array, U, compiled
from ase_deeppot.potential.kernels.moments import DEGREES


@compiled
def products(p: Array, radial: Array, angular: Array, constant: Array, runs: Array, y: Array, z: Array) -> None:
    """Fill y [n, 4, R] and the first K columns of z from moments P [n, Y, T L].

    ``y_0 = P_0 radial + constant``, ``y_c = P_c angular``; z holds ``sum_c y_ca y_cr``, runs[0, a] <= r < runs[1, a],
    then the same with runs[1, a] <= r < runs[2, a].
    """
    for i in range(p.shape[0]):
        y[i, 0] = constant
        y[i, 1:] = 0
        _add_products(p[i, :1], radial, y[i, :1])
        _add_products(p[i, 1:4], angular, y[i, 1:])
        y0, y1, y2, y3, z_i = y[i, 0], y[i, 1], y[i, 2], y[i, 3], z[i]
        start = U(0)
        for part in range(2):
            for a in range(U(runs.shape[1])):
                first, length = U(runs[part, a]), U(runs[part + 1, a]) - U(runs[part, a])
                a0, a1, a2, a3 = y0[a], y1[a], y2[a], y3[a]
                for r in range(length):
                    z_i[start + r] = (a0 * y0[first + r] + a1 * y1[first + r] + a2 * y2[first + r]
                                      + a3 * y3[first + r])
                start += length


@compiled
def _add_products(x: Array, matrix: Array, y: Array) -> None:
    """y [C, N] += x [C, M] matrix [M, N], M a multiple of four: three rows of x at a time read the matrix once."""
    three = len(x) - len(x) % 3
    for c in range(0, three, 3):
        _add_three(x[c], x[c + 1], x[c + 2], matrix, y[c], y[c + 1], y[c + 2])
    for c in range(three, len(x)):
        _add_one(x[c], matrix, y[c])


@compiled
def _add_three(x0: Array, x1: Array, x2: Array, matrix: Array, y0: Array, y1: Array, y2: Array) -> None:
    for m in range(0, matrix.shape[0], 2):
        a, b = matrix[m], matrix[m + 1]
        a0, a1, a2, b0, b1, b2 = x0[m], x1[m], x2[m], x0[m + 1], x1[m + 1], x2[m + 1]
        for k in range(len(a)):
            y0[k] += a0 * a[k] + b0 * b[k]
            y1[k] += a1 * a[k] + b1 * b[k]
            y2[k] += a2 * a[k] + b2 * b[k]


@compiled
def _add_one(x: Array, matrix: Array, y: Array) -> None:
    for m in range(0, matrix.shape[0], DEGREES):
        xa, xb, xc, xd = x[m], x[m + 1], x[m + 2], x[m + 3]
        a, b, c, d = matrix[m], matrix[m + 1], matrix[m + 2], matrix[m + 3]
        for k in range(len(y)):
            y[k] += xa * a[k] + xb * b[k] + xc * c[k] + xd * d[k]


@compiled
def products_backward(y: Array, z_bar: Array, radial_t: Array, angular_t: Array, runs: Array, k: Array) -> None:
    """Fill four rows of K = dE/dP [n, Y, T L] from dE/dz; the matrices transposed and filled up, [R', T L]."""
    y_bar = np.zeros((4, radial_t.shape[0]), y.dtype)
    for i in range(y.shape[0]):
        y_bar[:] = 0
        start = U(0)
        for part in range(2):
            for a in range(U(runs.shape[1])):
                first, length = U(runs[part, a]), U(runs[part + 1, a]) - U(runs[part, a])
                _run_backward(y[i], a, first, z_bar[i, start : start + length], y_bar)
                start += length
        k[i, :4] = 0
        _add_products(y_bar[:1], radial_t, k[i, :1])
        _add_products(y_bar[1:], angular_t, k[i, 1:4])


@compiled
def _run_backward(y: Array, a: int, first: np.uint64, z_bar: Array, y_bar: Array) -> None:
    """Add what the products of y_a with a run of y_r, from the first on, do to the derivatives by y [4, R]."""
    y0, y1, y2, y3 = y[0], y[1], y[2], y[3]
    s0 = s1 = s2 = s3 = y.dtype.type(0)
    for r in range(U(len(z_bar))):
        g = z_bar[r]
        s0 += g * y0[first + r]
        s1 += g * y1[first + r]
        s2 += g * y2[first + r]
        s3 += g * y3[first + r]
    for c in range(4):
        _add_scaled(y[c, a], z_bar, y_bar[c, first : first + len(z_bar)])
    y_bar[0, a] += s0
    y_bar[1, a] += s1
    y_bar[2, a] += s2
    y_bar[3, a] += s3


@compiled
def higher_products(p: Array, higher: Array, axis: int, y: Array, z: Array) -> None:
    """The same for the higher orders: fill y [n, Y - 4, Q] and the last columns of z."""
    y[:] = 0
    for i in range(p.shape[0]):
        start = U(z.shape[1]) - _width(higher.shape[0], y.shape[2], axis)
        for k in range(higher.shape[0]):
            z[i, start : start + _width(1, y.shape[2], axis)] = 0
            first, last = (k + 2) ** 2, (k + 3) ** 2
            _add_products(p[i, first:last], higher[k], y[i, first - 4 : last - 4])
            for c in range(first - 4, last - 4):
                _add_squares(y[i, c], axis, z[i, start:])
            start += _width(1, y.shape[2], axis)


@compiled
def higher_products_backward(y: Array, z_bar: Array, higher_t: Array, axis: int, k: Array) -> None:
    """Fill the rows of K = dE/dP [n, Y, T L] from the fifth on; the matrices transposed and filled up."""
    y_bar = np.zeros((k.shape[1], higher_t.shape[1]), y.dtype)
    k[:, 4:] = 0
    for i in range(y.shape[0]):
        start = U(z_bar.shape[1]) - _width(higher_t.shape[0], y.shape[2], axis)
        y_bar[:] = 0
        for order in range(higher_t.shape[0]):
            first, last = (order + 2) ** 2, (order + 3) ** 2
            for c in range(first, last):
                _add_squares_backward(y[i, c - 4], z_bar[i, start:], axis, y_bar[c])
            _add_products(y_bar[first:last], higher_t[order], k[i, first:last])
            start += _width(1, y.shape[2], axis)


@compiled
def _width(orders: int, rank: int, axis: int) -> np.uint64:
    return U(orders * (axis * rank - axis * (axis - 1) // 2))


@compiled
def _add_squares(y: Array, axis: int, z: Array) -> None:
    """Add ``y_a y_r``, a < axis, a <= r < Q."""
    start, rank = U(0), U(len(y))
    for a in range(U(axis)):
        _add_scaled(y[a], y[a:], z[start : start + rank - a])
        start += rank - a


@compiled
def _add_squares_backward(y: Array, z_bar: Array, axis: int, y_bar: Array) -> None:
    start, rank = U(0), U(len(y))
    for a in range(U(axis)):
        g, total = z_bar[start : start + rank - a], y.dtype.type(0)
        for r in range(rank - a):
            total += g[r] * y[a + r]
        _add_scaled(y[a], g, y_bar[a : rank])
        y_bar[a] += total
        start += rank - a


@compiled
def _add_scaled(factor: float, x: Array, y: Array) -> None:
    for k in range(len(x)):
        y[k] += factor * x[k]
