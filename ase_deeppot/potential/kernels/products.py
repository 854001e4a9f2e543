"""From moments to the input of the folded fitting net, and back: ``folded.FoldedProducts`` in compiled loops."""

import numpy as np

from ase_deeppot.potential.kernels.compilation import compiled
from ase_deeppot.potential.kernels.layout import LANES, Array, U, filled
from ase_deeppot.potential.kernels.matrices import add_first_rows, add_products, copy


@compiled
def products(p: Array, radial_t: Array, angular_t: Array, constant: Array, runs: Array, start: int, y: Array,
             z: Array) -> None:
    """Fill y [n, 4, R] and K columns of z from ``start`` on from moments P [n, Y, T L].

    The matrices are the transposed ones, [R, T L].

    ``y_0 = P_0 radial + constant``, ``y_c = P_c angular``; z holds ``sum_c y_ca y_cr``, runs[0, a] <= r < runs[1, a],
    then the same with runs[1, a] <= r < runs[2, a].
    """
    y[:] = 0
    for i in range(len(y)):
        for r in range(len(constant)):
            y[i, 0, r] = constant[r]
    add_first_rows(p, radial_t, y)
    for i in range(p.shape[0]):
        add_products(p[i, 1:4], angular_t, y[i, 1:])
        y0, y1, y2, y3, z_i = y[i, 0], y[i, 1], y[i, 2], y[i, 3], z[i]
        at = U(start)
        for part in range(2):
            for a in range(U(runs.shape[1])):
                first, length = U(runs[part, a]), U(runs[part + 1, a]) - U(runs[part, a])
                a0, a1, a2, a3 = y0[a], y1[a], y2[a], y3[a]
                for r in range(length):
                    z_i[at + r] = (a0 * y0[first + r] + a1 * y1[first + r] + a2 * y2[first + r]
                                   + a3 * y3[first + r])
                at += length


@compiled
def products_backward(y: Array, z_bar: Array, start: int, radial: Array, angular: Array, runs: Array,
                      k: Array) -> None:
    """Fill four rows of K = dE/dP [n, Y, T L] from dE/dz, as ``products`` has its columns; the matrices [T L, R]."""
    rank, small = y.shape[2], start
    for a in range(runs.shape[1]):
        small += runs[1, a] - runs[0, a]
    y_bar = np.empty(y.shape, y.dtype)
    around, bar = np.zeros((4, rank + LANES), y.dtype), np.empty((4, rank + LANES), y.dtype)  # loops read beyond R
    g = np.empty(rank + LANES, y.dtype)
    k[:, :4] = 0
    for i in range(y.shape[0]):
        copy(y[i], around)
        _runs_backward(around, z_bar[i], runs, start, small, g, bar)
        copy(bar[:, :rank], y_bar[i])
        add_products(y_bar[i, 1:], angular, k[i, 1:4])
    add_first_rows(y_bar, radial, k)


@compiled
def _runs_backward(y: Array, z_bar: Array, runs: Array, first_large: int, first_small: int, g: Array,
                   y_bar: Array) -> None:
    """Fill dE/dy [4, R] from dE/dz, of which the two parts of a row a follow each other in r; g is room."""
    y_bar[:] = 0
    large, small = U(first_large), U(first_small)
    for a in range(U(runs.shape[1])):
        first, middle, last = U(runs[0, a]), U(runs[1, a]), U(runs[2, a])
        for r in range(middle - first):
            g[r] = z_bar[large + r]
        for r in range(last - middle):
            g[middle - first + r] = z_bar[small + r]
        for r in range(U(LANES)):
            g[last - first + r] = 0
        large, small = large + middle - first, small + last - middle
        _row_backward(y, a, first, filled(runs[2, a] - runs[0, a]), g, y_bar)


@compiled
def _row_backward(y: Array, a: np.uint64, first: np.uint64, length: np.uint64, g: Array, y_bar: Array) -> None:
    """Add what the products of y_a with y_r, from the first r on, do to the derivatives by y; whole vectors of them."""
    y0, y1, y2, y3 = y[0], y[1], y[2], y[3]
    bar0, bar1, bar2, bar3 = y_bar[0], y_bar[1], y_bar[2], y_bar[3]
    a0, a1, a2, a3 = y0[a], y1[a], y2[a], y3[a]
    s0 = s1 = s2 = s3 = y.dtype.type(0)
    for r in range(length):
        s0 += g[r] * y0[first + r]
        s1 += g[r] * y1[first + r]
        s2 += g[r] * y2[first + r]
        s3 += g[r] * y3[first + r]
    for r in range(length):
        bar0[first + r] += a0 * g[r]
        bar1[first + r] += a1 * g[r]
        bar2[first + r] += a2 * g[r]
        bar3[first + r] += a3 * g[r]
    bar0[a] += s0
    bar1[a] += s1
    bar2[a] += s2
    bar3[a] += s3
