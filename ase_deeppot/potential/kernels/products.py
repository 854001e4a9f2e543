"""From moments to the input of the folded fitting net, and back: ``folded.FoldedSpecies`` in compiled loops."""

import numpy as np

from ase_deeppot.potential.kernels.compilation import compiled
from ase_deeppot.potential.kernels.layout import LANES, Array, U, filled


@compiled
def products(p: Array, radial_t: Array, angular_t: Array, constant: Array, runs: Array, y: Array, z: Array) -> None:
    """Fill y [n, 4, R] and the first K columns of z from moments P [n, Y, T L], with the transposed matrices [R, T L].

    ``y_0 = P_0 radial + constant``, ``y_c = P_c angular``; z holds ``sum_c y_ca y_cr``, runs[0, a] <= r < runs[1, a],
    then the same with runs[1, a] <= r < runs[2, a].
    """
    y[:, 0] = constant
    y[:, 1:] = 0
    _add_first_rows(p, radial_t, y)
    for i in range(p.shape[0]):
        _add_products(p[i, 1:4], angular_t, y[i, 1:])
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
def _add_products(x: Array, transposed: Array, y: Array) -> None:
    """y [C, N] += x [C, M] matrix [M, N], the matrix as its transpose; N is a multiple of four. x may be longer."""
    three = len(x) - len(x) % 3
    for c in range(0, three, 3):
        _add_three(x[c], x[c + 1], x[c + 2], transposed, y[c], y[c + 1], y[c + 2])
    for c in range(three, len(x)):
        _add_one(x[c], transposed, y[c])


@compiled
def _add_first_rows(x: Array, transposed: Array, y: Array) -> None:
    """The same for the rows x[i, 0] of all atoms i; a slice of them would not be known to be contiguous."""
    three = len(x) - len(x) % 3
    for i in range(0, three, 3):
        _add_three(x[i, 0], x[i + 1, 0], x[i + 2, 0], transposed, y[i, 0], y[i + 1, 0], y[i + 2, 0])
    for i in range(three, len(x)):
        _add_one(x[i, 0], transposed, y[i, 0])


@compiled
def _add_three(x0: Array, x1: Array, x2: Array, transposed: Array, y0: Array, y1: Array, y2: Array) -> None:
    """Twelve sums at a time, which stay in registers."""
    zero = y0.dtype.type(0)
    for r in range(0, len(transposed), 4):
        row_a, row_b, row_c, row_d = transposed[r], transposed[r + 1], transposed[r + 2], transposed[r + 3]
        a0 = a1 = a2 = b0 = b1 = b2 = c0 = c1 = c2 = d0 = d1 = d2 = zero
        for m in range(len(row_a)):
            u, v, w = x0[m], x1[m], x2[m]
            a, b, c, d = row_a[m], row_b[m], row_c[m], row_d[m]
            a0 += u * a
            a1 += v * a
            a2 += w * a
            b0 += u * b
            b1 += v * b
            b2 += w * b
            c0 += u * c
            c1 += v * c
            c2 += w * c
            d0 += u * d
            d1 += v * d
            d2 += w * d
        for y, four in ((y0, (a0, b0, c0, d0)), (y1, (a1, b1, c1, d1)), (y2, (a2, b2, c2, d2))):
            for k in range(4):
                y[r + k] += four[k]


@compiled
def _add_one(x: Array, transposed: Array, y: Array) -> None:
    zero = y.dtype.type(0)
    for r in range(0, len(transposed), 4):
        row_a, row_b, row_c, row_d = transposed[r], transposed[r + 1], transposed[r + 2], transposed[r + 3]
        a = b = c = d = zero
        for m in range(len(row_a)):
            a += x[m] * row_a[m]
            b += x[m] * row_b[m]
            c += x[m] * row_c[m]
            d += x[m] * row_d[m]
        y[r] += a
        y[r + 1] += b
        y[r + 2] += c
        y[r + 3] += d


@compiled
def products_backward(y: Array, z_bar: Array, radial: Array, angular: Array, runs: Array, k: Array) -> None:
    """Fill four rows of K = dE/dP [n, Y, T L] from dE/dz; the matrices [T L, R]."""
    rank, n_large = y.shape[2], (runs[1] - runs[0]).sum()
    y_bar = np.empty(y.shape, y.dtype)
    around, bar = np.zeros((4, rank + LANES), y.dtype), np.empty((4, rank + LANES), y.dtype)  # loops read beyond R
    g = np.empty(rank + LANES, y.dtype)
    k[:, :4] = 0
    for i in range(y.shape[0]):
        around[:, :rank] = y[i]
        _runs_backward(around, z_bar[i], runs, n_large, g, bar)
        y_bar[i] = bar[:, :rank]
        _add_products(y_bar[i, 1:], angular, k[i, 1:4])
    _add_first_rows(y_bar, radial, k)


@compiled
def _runs_backward(y: Array, z_bar: Array, runs: Array, n_large: int, g: Array, y_bar: Array) -> None:
    """Fill dE/dy [4, R] from dE/dz, of which the two parts of a row a follow each other in r.

    The large products are the first ``n_large``; g is room.
    """
    y_bar[:] = 0
    large, small = U(0), U(n_large)
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


@compiled
def higher_products(p: Array, higher_t: Array, axis: int, y: Array, z: Array) -> None:
    """The same for the higher orders, [l_max - 1, Q, T L]: fill y [n, Y - 4, Q] and the last columns of z."""
    rank, width = y.shape[2], _width(1, y.shape[2], axis)
    around, total = _rows(y, p.shape[1]), np.empty(_whole(rank), y.dtype)
    y[:] = 0
    for i in range(p.shape[0]):
        start = U(z.shape[1]) - _width(len(higher_t), rank, axis)
        for k in range(len(higher_t)):
            first, last = (k + 2) ** 2, (k + 3) ** 2
            _add_products(p[i, first:last], higher_t[k], y[i, first - 4 : last - 4])
            around[first:last, :rank] = y[i, first - 4 : last - 4]
            _squares(around[first:last], rank, axis, total, z[i, start : start + width])
            start += width


@compiled
def higher_products_backward(y: Array, z_bar: Array, higher: Array, axis: int, k: Array) -> None:
    """Fill the rows of K = dE/dP [n, Y, T L] from the fifth on; the matrices [l_max - 1, T L, Q]."""
    rank, width = y.shape[2], _width(1, y.shape[2], axis)
    around, bar = _rows(y, k.shape[1]), _rows(y, k.shape[1])
    g = np.zeros((axis, _whole(rank)), y.dtype)
    k[:, 4:] = 0
    for i in range(y.shape[0]):
        start = U(z_bar.shape[1]) - _width(len(higher), rank, axis)
        around[4:, :rank] = y[i]
        for order in range(len(higher)):
            first, last = (order + 2) ** 2, (order + 3) ** 2
            _unpack(z_bar[i, start : start + width], rank, g)
            _squares_backward(around[first:last], g, bar[first:last])
            _add_products(bar[first:last], higher[order], k[i, first:last])
            start += width


@compiled
def _width(orders: int, rank: int, axis: int) -> np.uint64:
    return U(orders * (axis * rank - axis * (axis - 1) // 2))


@compiled
def _whole(rank: int) -> int:
    """Length of rows of so many numbers that loops take in whole vectors."""
    return -(-rank // LANES) * LANES


@compiled
def _rows(y: Array, n: int) -> Array:
    return np.zeros((n, _whole(y.shape[2])), y.dtype)


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
