"""From moments to the environments ``G^T R``, to the descriptor, and back: ``potential.response`` in loops."""

from typing import NamedTuple

from ase_deeppot.potential.kernels.bispectrum import Third
from ase_deeppot.potential.kernels.compilation import compiled
from ase_deeppot.potential.kernels.fitting_net import four, padded, whole
from ase_deeppot.potential.kernels.layout import Array
from ase_deeppot.potential.kernels.matrix_products import add_outer_products, add_product

# Columns of the table of angular orders: first harmonic and how many, columns of the embedding and of the smaller
# matrix, where the products begin in the descriptor, and where the matrix does in `matrices`
FIRST, HARMONICS, COLUMNS, AXIS, PLACE, START = range(6)


class Mixing(NamedTuple):
    """What turns moments into environments: ``A_l = P_l M_l / slots``, orders 0 and 1 with products in common."""

    orders: Array  # [orders, 6] int64
    matrices: Array  # flat, [T L, M_l] each, filled up with zeros
    constant: Array  # [whole(M_0)], what the slots add to order 0
    inverse: float  # 1 / slots
    length: int  # T L
    stride: int  # of rows of environments
    third: Third  # of the bispectrum
    place: int  # where it begins in the descriptor


@compiled
def begins(mixing: Mixing, order: int, n: int) -> int:
    """First row of an order: all of its rows, of atom after atom, stand together, and with them room for some more."""
    rows = 0
    for o in range(order):
        rows += capacity(n * mixing.orders[o, HARMONICS])
    return rows


@compiled
def capacity(n: int) -> int:
    """Rows that n take up in products of matrices."""
    return (n + 11) // 12 * 12


@compiled
def take(mixing: Mixing, atoms: Array, p: Array, rows: Array) -> None:
    """Moments [N, Y, T L] of some atoms, order by order, in rows ``whole(T L)`` apart; what is beyond becomes zero."""
    stride = whole(mixing.length)
    rows[:] = 0
    for o in range(len(mixing.orders)):
        begin, harmonics = begins(mixing, o, len(atoms)), mixing.orders[o, HARMONICS]
        for a in range(len(atoms)):
            for c in range(harmonics):
                source = p[atoms[a], mixing.orders[o, FIRST] + c]
                target = rows[(begin + a * harmonics + c) * stride : (begin + a * harmonics + c + 1) * stride]
                for k in range(len(source)):
                    target[k] = source[k]


@compiled
def give(mixing: Mixing, atoms: Array, rows: Array, p: Array) -> None:
    """The other way round."""
    stride = whole(mixing.length)
    for o in range(len(mixing.orders)):
        begin, harmonics = begins(mixing, o, len(atoms)), mixing.orders[o, HARMONICS]
        for a in range(len(atoms)):
            for c in range(harmonics):
                target = p[atoms[a], mixing.orders[o, FIRST] + c]
                source = rows[(begin + a * harmonics + c) * stride : (begin + a * harmonics + c + 1) * stride]
                for k in range(len(target)):
                    target[k] = source[k]


@compiled
def environments(mixing: Mixing, n: int, p: Array, constant: float, a: Array) -> None:
    """Fill A, from the rows of P; ``constant`` times what the slots add to order 0 is in it."""
    stride, p_stride = mixing.stride, whole(mixing.length)
    a[:] = 0
    for o in range(len(mixing.orders)):
        order, begin = mixing.orders[o], begins(mixing, o, n)
        count, width = n * order[HARMONICS], whole(order[COLUMNS])
        rows, out = p[begin * p_stride :], a[begin * stride :]
        add_outer_products(rows, p_stride, 1, four(count), four(mixing.length), mixing.matrices, order[START], width,
                           width, out, 0, stride)
        for k in range(count * stride):
            out[k] *= mixing.inverse
    for i in range(n if constant != 0 else 0):
        for m in range(len(mixing.constant)):
            a[i * stride + m] += constant * mixing.inverse * mixing.constant[m]


@compiled
def moments_bar(mixing: Mixing, n: int, a_bar: Array, p_bar: Array) -> None:
    """Derivatives by the rows of P from those by A."""
    stride, p_stride = mixing.stride, whole(mixing.length)
    p_bar[:] = 0
    for o in range(len(mixing.orders)):
        order, begin = mixing.orders[o], begins(mixing, o, n)
        count, width = n * order[HARMONICS], whole(order[COLUMNS])
        out = p_bar[begin * p_stride :]
        add_product(a_bar[begin * stride :], stride, padded(count), mixing.matrices, order[START], width,
                    four(mixing.length), out, p_stride)
        for k in range(count * p_stride):
            out[k] *= mixing.inverse


@compiled
def add_mixing_bars(mixing: Mixing, n: int, p: Array, a_bar: Array, bars: Array) -> None:
    """Add the derivative by the matrices, slots left out, to ``bars``, which is laid out as they are."""
    stride, p_stride = mixing.stride, whole(mixing.length)
    for o in range(len(mixing.orders)):
        order, begin = mixing.orders[o], begins(mixing, o, n)
        width = whole(order[COLUMNS])
        add_outer_products(p[begin * p_stride :], 1, p_stride, four(mixing.length), four(n * order[HARMONICS]),
                           a_bar[begin * stride :], 0, stride, width, bars, order[START], width)


@compiled
def add_descriptor(mixing: Mixing, n: int, a: Array, b: Array, x: Array, x_stride: int) -> None:
    """Add ``A^T B_<``, order by order, to the rows of x."""
    for o in range(len(mixing.orders)):
        order, begin = mixing.orders[o], begins(mixing, o, n)
        harmonics, axis = order[HARMONICS], order[AXIS]
        for i in range(n):
            row = x[i * x_stride + order[PLACE] : i * x_stride + order[PLACE] + order[COLUMNS] * axis]
            for c in range(harmonics):
                at = (begin + i * harmonics + c) * mixing.stride
                a_row, b_row = a[at : at + order[COLUMNS]], b[at : at + axis]
                for m in range(len(a_row)):
                    factor, part = a_row[m], row[m * axis : (m + 1) * axis]
                    for k in range(len(b_row)):
                        part[k] += factor * b_row[k]


@compiled
def add_descriptor_bar(mixing: Mixing, n: int, a: Array, x_bar: Array, x_stride: int, a_bar: Array) -> None:
    """Add to the derivative by A what that by ``A^T A_<`` gives."""
    for o in range(len(mixing.orders)):
        order, begin = mixing.orders[o], begins(mixing, o, n)
        harmonics, axis = order[HARMONICS], order[AXIS]
        for i in range(n):
            row = x_bar[i * x_stride + order[PLACE] : i * x_stride + order[PLACE] + order[COLUMNS] * axis]
            for c in range(harmonics):
                at = (begin + i * harmonics + c) * mixing.stride
                a_row, bar = a[at : at + order[COLUMNS]], a_bar[at : at + order[COLUMNS]]
                for m in range(len(a_row)):
                    part, total, factor = row[m * axis : (m + 1) * axis], a.dtype.type(0), a_row[m]
                    for k in range(len(part)):
                        total += part[k] * a_row[k]
                        bar[k] += factor * part[k]
                    bar[m] += total
