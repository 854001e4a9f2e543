"""The same as ``products`` for the higher angular orders."""

import numpy as np

from ase_deeppot.potential.kernels.compilation import compiled
from ase_deeppot.potential.kernels.layout import Array, U, filled
from ase_deeppot.potential.kernels.matrices import add_products, copy


@compiled
def higher_products(p: Array, higher_t: Array, axis: int, first_column: int, y: Array, z: Array) -> None:
    """Fill y [n, Y - 4, Q] and columns of z, with the transposed matrices [l_max - 1, Q, T L]."""
    rank, width = y.shape[2], _width(y.shape[2], axis)
    around, total = _rows(y, p.shape[1]), _rows(y, 1)[0]
    y[:] = 0
    for i in range(p.shape[0]):
        start = U(first_column)
        for k in range(len(higher_t)):
            first, last = (k + 2) ** 2, (k + 3) ** 2
            add_products(p[i, first:last], higher_t[k], y[i, first - 4 : last - 4])
            copy(y[i, first - 4 : last - 4], around[first:last])
            _squares(around[first:last], rank, axis, total, z[i, start : start + width])
            start += width


@compiled
def higher_products_backward(y: Array, z_bar: Array, first_column: int, higher: Array, axis: int, k: Array) -> None:
    """Fill the rows of K = dE/dP [n, Y, T L] from the fifth on; the matrices [l_max - 1, T L, Q]."""
    rank, width = y.shape[2], _width(y.shape[2], axis)
    around, bar, g = _rows(y, k.shape[1]), _rows(y, k.shape[1]), _rows(y, axis)
    k[:, 4:] = 0
    for i in range(y.shape[0]):
        start = U(first_column)
        copy(y[i], around[4:])
        for order in range(len(higher)):
            first, last = (order + 2) ** 2, (order + 3) ** 2
            _unpack(z_bar[i, start : start + width], rank, g)
            _squares_backward(around[first:last], g, bar[first:last])
            add_products(bar[first:last], higher[order], k[i, first:last])
            start += width


@compiled
def _width(rank: int, axis: int) -> np.uint64:
    """Products of an order."""
    return U(axis * rank - axis * (axis - 1) // 2)


@compiled
def _rows(y: Array, n: int) -> Array:
    """Room for n rows of y, filled up so that loops take whole vectors of them."""
    return np.zeros((n, np.int64(filled(y.shape[2]))), y.dtype)


@compiled
def _squares(y: Array, rank: int, axis: int, total: Array, z: Array) -> None:
    """Fill z with the sums over rows of ``y_a y_r``, a < axis, a <= r < Q."""
    start = U(0)
    for a in range(U(axis)):
        total[:] = 0
        for c in range(len(y)):
            factor, row = y[c, a], y[c]
            for r in range(len(total)):
                total[r] += factor * row[r]
        for r in range(a, U(rank)):
            z[start + r - a] = total[r]
        start += U(rank) - a


@compiled
def _unpack(z_bar: Array, rank: int, g: Array) -> None:
    """The triangle of derivatives by products into rows, of which what is below the diagonal stays zero."""
    start = U(0)
    for a in range(U(len(g))):
        for r in range(a, U(rank)):
            g[a, r] = z_bar[start + r - a]
        start += U(rank) - a


@compiled
def _squares_backward(y: Array, g: Array, y_bar: Array) -> None:
    """Fill the derivatives by y from those by its products, g [axis, Q]."""
    y_bar[:] = 0
    for c in range(len(y)):
        row, bar = y[c], y_bar[c]
        for a in range(U(len(g))):
            factor, of_a, total = row[a], g[a], y.dtype.type(0)
            for r in range(len(row)):
                total += of_a[r] * row[r]
            for r in range(len(row)):
                bar[r] += factor * of_a[r]
            bar[a] += total
