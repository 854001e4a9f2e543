"""The bispectrum of a group of atoms in a folded model: from their moments to the fitting net's input, and back."""

import numpy as np

from ase_deeppot.potential.kernels.bispectrum import Third, backward, bispectrum
from ase_deeppot.potential.kernels.compilation import compiled
from ase_deeppot.potential.kernels.fitting_net import whole
from ase_deeppot.potential.kernels.layout import Array, U


@compiled
def third_products(third: Third, p: Array, making: Array, a: Array, z: Array, place: int) -> None:
    """Fill what it takes of the environments of orders 1 and up, and columns of z [n, S] from ``place`` on.

    ``a = P_l making_l``, from moments P [n, Y, T L] and making [l, columns, T L].
    """
    if third.invariants == 0:
        return
    lanes = whole(len(p))
    a[:] = 0
    z[: len(p), place : place + third.invariants] = 0
    for i in range(p.shape[0]):
        for order in range(1, len(making) + 1):
            for row in range(order * order, (order + 1) ** 2):
                for column in range(third.columns):
                    total, of_row, of_column = a.dtype.type(0), p[i, row], making[order - 1, column]
                    for m in range(len(of_row)):
                        total += of_row[m] * of_column[m]
                    a[((row - 1) * third.columns + column) * lanes + i] = total
    values = np.empty(third.invariants * lanes, a.dtype)
    bispectrum(third, U(lanes), a, values)
    add_from_lanes(values, lanes, z.reshape(z.size), z.shape[1], place, third.invariants, len(p))


@compiled
def third_products_backward(third: Third, a: Array, z_bar: Array, place: int, making: Array, k: Array) -> None:
    """Add to K = dE/dP [n, Y, T L] what the bispectrum gives."""
    if third.invariants == 0:
        return
    lanes = whole(len(k))
    g, bar = np.empty(third.invariants * lanes, a.dtype), np.empty_like(a)
    into_lanes(z_bar.reshape(z_bar.size), z_bar.shape[1], place, third.invariants, len(k), g, lanes)
    backward(third, U(lanes), a, g, bar)
    for i in range(k.shape[0]):
        for order in range(1, len(making) + 1):
            for row in range(order * order, (order + 1) ** 2):
                for column in range(third.columns):
                    factor = bar[((row - 1) * third.columns + column) * lanes + i]
                    of_row, of_column = k[i, row], making[order - 1, column]
                    for m in range(len(of_row)):
                        of_row[m] += factor * of_column[m]


@compiled
def into_lanes(x: Array, stride: int, place: int, count: int, n: int, target: Array, lanes: int) -> None:
    """``count`` numbers of each of n rows of x, from ``place`` on, to rows of lanes; lanes beyond n become zero."""
    target[:] = 0
    for k in range(count):
        for i in range(n):
            target[k * lanes + i] = x[i * stride + place + k]


@compiled
def add_from_lanes(values: Array, lanes: int, x: Array, stride: int, place: int, count: int, n: int) -> None:
    """Add them to those of x."""
    for k in range(count):
        for i in range(n):
            x[i * stride + place + k] += values[k * lanes + i]
