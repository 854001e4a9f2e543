"""Products of matrices: few rows with the weights of a layer.

A call of BLAS lays both out anew before it multiplies, which for few rows takes as long again. Here weights are stored
as they are read, and sums along rows, in registers, need nothing laid out.
"""

import numpy as np

from ase_deeppot.potential.kernels.compilation import compiled
from ase_deeppot.potential.kernels.layout import Array, U

ROWS, COLUMNS = U(3), U(4)  # twelve sums at a time, which leaves some of sixteen registers for what is summed
NEAR = 16_384  # bytes of the matrix that are read again and again: half of a first cache
FOUR, SOME, MANY = U(4), U(16), U(64)  # rows taken together; of B, added to so many of y before the next ones are


@compiled
def add_product(x: Array, stride: int, rows: int, matrix: Array, start: int, length: int, columns: int, y: Array,
                y_stride: int) -> None:
    """y [rows, columns] += x [rows, length] M^T, with M [columns, length] from ``matrix[start]`` on; all arrays flat.

    Rows are multiples of 3, columns of 4, the length of 16; rows of x and y begin ``stride`` and ``y_stride`` apart.
    """
    k, last = U(length), U(columns)
    some = COLUMNS * max(U(1), U(NEAR // matrix.itemsize) // (COLUMNS * k))
    for first in range(U(0), last, some):
        end = min(last, first + some)
        for c in range(U(0), U(rows), ROWS):
            _add_three(x, c * U(stride), U(stride), matrix, U(start), k, first, end, y, c * U(y_stride), U(y_stride))


@compiled
def _add_three(x: Array, row: np.uint64, stride: np.uint64, matrix: Array, start: np.uint64, length: np.uint64,
               first: np.uint64, end: np.uint64, y: Array, at: np.uint64, y_stride: np.uint64) -> None:
    """Three rows with some columns."""
    zero, one, two, three = y.dtype.type(0), U(1), U(2), U(3)
    row_b, row_c = row + stride, row + two * stride
    for r in range(first, end, COLUMNS):
        p = start + r * length
        q, s, t = p + length, p + two * length, p + three * length
        a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = c0 = c1 = c2 = c3 = zero
        for m in range(length):
            a, b, c = x[row + m], x[row_b + m], x[row_c + m]
            w0, w1, w2, w3 = matrix[p + m], matrix[q + m], matrix[s + m], matrix[t + m]
            a0 += a * w0  # one number of the matrix after the other, so that sixteen registers are enough
            b0 += b * w0
            c0 += c * w0
            a1 += a * w1
            b1 += b * w1
            c1 += c * w1
            a2 += a * w2
            b2 += b * w2
            c2 += c * w2
            a3 += a * w3
            b3 += b * w3
            c3 += c * w3
        place = at + r
        for four in ((a0, a1, a2, a3), (b0, b1, b2, b3), (c0, c1, c2, c3)):
            y[place] += four[0]
            y[place + one] += four[1]
            y[place + two] += four[2]
            y[place + three] += four[3]
            place += y_stride


@compiled
def add_outer_products(a: Array, across: int, along: int, rows: int, count: int, b: Array, start: int, b_stride: int,
                       columns: int, y: Array, y_start: int, y_stride: int) -> None:
    """y [rows, columns] += A B, from the ``count`` columns of A and rows of B; all arrays flat.

    ``A[c, k]`` is ``a[c across + k along]``: a matrix or a transposed one. Rows of B, from ``b[start]`` on, begin
    ``b_stride`` apart, and those of y ``y_stride``. Rows and count are multiples of 4.
    """
    n, last = U(count), U(rows)
    for first in range(U(0), last, MANY):
        for begin in range(U(0), n, SOME):
            end = min(n, begin + SOME)
            for c in range(first, min(last, first + MANY), FOUR):
                for k in range(begin, end, FOUR):
                    _add_four(a, c * U(across) + k * U(along), U(across), U(along), b, U(start) + k * U(b_stride),
                              U(b_stride), U(columns), y, U(y_start) + c * U(y_stride), U(y_stride))


@compiled
def _add_four(a: Array, at: np.uint64, across: np.uint64, along: np.uint64, b: Array, row: np.uint64,
              b_stride: np.uint64, columns: np.uint64, y: Array, to: np.uint64, y_stride: np.uint64) -> None:
    """What four rows of B add to four rows of y."""
    two, three = U(2), U(3)
    a0, a1, a2, a3 = a[at], a[at + along], a[at + two * along], a[at + three * along]
    at += across
    b0, b1, b2, b3 = a[at], a[at + along], a[at + two * along], a[at + three * along]
    at += across
    c0, c1, c2, c3 = a[at], a[at + along], a[at + two * along], a[at + three * along]
    at += across
    d0, d1, d2, d3 = a[at], a[at + along], a[at + two * along], a[at + three * along]
    p, q, s, t = row, row + b_stride, row + two * b_stride, row + three * b_stride
    ya, yb, yc, yd = to, to + y_stride, to + two * y_stride, to + three * y_stride
    for j in range(columns):
        w0, w1, w2, w3 = b[p + j], b[q + j], b[s + j], b[t + j]
        y[ya + j] += a0 * w0 + a1 * w1 + a2 * w2 + a3 * w3
        y[yb + j] += b0 * w0 + b1 * w1 + b2 * w2 + b3 * w3
        y[yc + j] += c0 * w0 + c1 * w1 + c2 * w2 + c3 * w3
        y[yd + j] += d0 * w0 + d1 * w1 + d2 * w2 + d3 * w3
