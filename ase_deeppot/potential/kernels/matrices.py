"""Few rows of numbers: copies, and products with a matrix, for which a call of BLAS would be too much."""

from ase_deeppot.potential.kernels.compilation import compiled
from ase_deeppot.potential.kernels.layout import Array


@compiled
def copy(source: Array, target: Array) -> None:
    """Numbers of source [C, N] to the beginning of the rows of target [C, N or more].

    As ``target[:, :N] = source``, of which numba makes much code, for an error among others.
    """
    for c in range(len(source)):
        for k in range(source.shape[1]):
            target[c, k] = source[c, k]


@compiled
def add_products(x: Array, transposed: Array, y: Array) -> None:
    """y [C, N] += x [C, M] matrix [M, N], the matrix as its transpose; N is a multiple of four. x may be longer."""
    three = len(x) - len(x) % 3
    for c in range(0, three, 3):
        _add_three(x[c], x[c + 1], x[c + 2], transposed, y[c], y[c + 1], y[c + 2])
    for c in range(three, len(x)):
        _add_one(x[c], transposed, y[c])


@compiled
def add_first_rows(x: Array, transposed: Array, y: Array) -> None:
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
