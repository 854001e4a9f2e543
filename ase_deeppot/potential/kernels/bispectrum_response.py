"""The bispectrum in training: of environments as ``environment`` has them, and the derivatives that a loss needs."""

import numpy as np

from ase_deeppot.potential.kernels.bispectrum import add_backward_along, along, backward, bispectrum
from ase_deeppot.potential.kernels.bispectrum_products import add_from_lanes, into_lanes
from ase_deeppot.potential.kernels.compilation import compiled
from ase_deeppot.potential.kernels.environment import HARMONICS, Mixing, begins
from ase_deeppot.potential.kernels.fitting_net import whole
from ase_deeppot.potential.kernels.layout import Array, U

COUPLED = 3  # highest order; see ``potential.bispectrum``


@compiled
def add_bispectrum(mixing: Mixing, n: int, a: Array, x: Array, x_stride: int) -> None:
    """Add it to the rows of x, after the products."""
    third = mixing.third
    if third.invariants > 0:
        values = np.empty(third.invariants * whole(n), x.dtype)
        bispectrum(third, U(whole(n)), _taken(mixing, n, a), values)
        add_from_lanes(values, whole(n), x, x_stride, mixing.place, third.invariants, n)


@compiled
def add_bispectrum_along(mixing: Mixing, n: int, a: Array, a_dot: Array, x_dot: Array, x_stride: int) -> None:
    """Add its change, where the environments change by ``a_dot``."""
    third = mixing.third
    if third.invariants > 0:
        values = np.empty(third.invariants * whole(n), a.dtype)
        along(third, U(whole(n)), _taken(mixing, n, a), _taken(mixing, n, a_dot), values)
        add_from_lanes(values, whole(n), x_dot, x_stride, mixing.place, third.invariants, n)


@compiled
def add_bispectrum_bar(mixing: Mixing, n: int, a: Array, x_bar: Array, x_stride: int, a_bar: Array) -> None:
    """Add to the derivative by A what that by the bispectrum gives."""
    third = mixing.third
    if third.invariants > 0:
        taken = _taken(mixing, n, a)
        bar = np.empty_like(taken)
        backward(third, U(whole(n)), taken, _given(mixing, n, x_bar, x_stride), bar)
        _add_taken(mixing, n, bar, a_bar)


@compiled
def add_bispectrum_bar_along(mixing: Mixing, n: int, a: Array, a_dot: Array, x_bar: Array, x_stride: int,
                             a_bar: Array) -> None:
    """Add the change of the same, where the environments change by ``a_dot``."""
    third = mixing.third
    if third.invariants > 0:
        taken = _taken(mixing, n, a)
        bar = np.zeros_like(taken)
        add_backward_along(third, U(whole(n)), taken, _taken(mixing, n, a_dot), _given(mixing, n, x_bar, x_stride), bar)
        _add_taken(mixing, n, bar, a_bar)


@compiled
def _given(mixing: Mixing, n: int, x_bar: Array, x_stride: int) -> Array:
    """The derivatives by the bispectrum, in lanes."""
    g = np.empty(mixing.third.invariants * whole(n), x_bar.dtype)
    into_lanes(x_bar, x_stride, mixing.place, mixing.third.invariants, n, g, whole(n))
    return g


@compiled
def _taken(mixing: Mixing, n: int, a: Array) -> Array:
    """The first columns of orders 1 and up, in lanes."""
    columns, lanes = mixing.third.columns, whole(n)
    result = np.zeros(_rows(mixing) * columns * lanes, a.dtype)
    for order in range(1, _coupled(mixing)):
        begin, harmonics = begins(mixing, order, n), mixing.orders[order, HARMONICS]
        for c in range(harmonics):
            for column in range(columns):
                at = ((order * order - 1 + c) * columns + column) * lanes
                for i in range(n):
                    result[at + i] = a[(begin + i * harmonics + c) * mixing.stride + column]
    return result


@compiled
def _add_taken(mixing: Mixing, n: int, bar: Array, a_bar: Array) -> None:
    """The other way round."""
    columns, lanes = mixing.third.columns, whole(n)
    for order in range(1, _coupled(mixing)):
        begin, harmonics = begins(mixing, order, n), mixing.orders[order, HARMONICS]
        for c in range(harmonics):
            for column in range(columns):
                at = ((order * order - 1 + c) * columns + column) * lanes
                for i in range(n):
                    a_bar[(begin + i * harmonics + c) * mixing.stride + column] += bar[at + i]


@compiled
def _rows(mixing: Mixing) -> int:
    """Components of orders 1 and up that couple."""
    return _coupled(mixing) ** 2 - 1


@compiled
def _coupled(mixing: Mixing) -> int:
    """The first order that does not couple."""
    return min(len(mixing.orders), COUPLED + 1)
