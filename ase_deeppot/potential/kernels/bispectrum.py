"""``potential.bispectrum`` and its derivatives in loops over many atoms, each in a lane of its own.

The environments of orders 1 and up are in a flat array, at ``(row columns + column) lanes + lane``; rows of order l
begin at l^2 - 1. Invariants stand in rows of lanes too. The loops that are inside are over lanes, and long enough to be
worth the look at whether arrays overlap that comes before each.
"""

from typing import NamedTuple

import numpy as np

from ase_deeppot.potential.kernels.compilation import compiled
from ase_deeppot.potential.kernels.layout import Array, U

HIGHEST = 7  # components of an order
# Columns of the table of pairs: the terms of its coupling, the columns a and b, the first of the columns c, where its
# first invariant stands, and the rows of the third order
FROM, TO, A, B, C, PLACE, Z_FROM, Z_TO = range(8)


class Third(NamedTuple):
    """The invariants ``B_abc``, those of one a and b after each other."""

    rows: Array  # [terms, 3] int64, x, y and z of what is not zero of g_xyz
    values: Array  # [terms], g_xyz
    pairs: Array  # [pairs, 8] int64
    columns: int
    invariants: int  # how many


@compiled
def _pair(third: Third, lanes: np.uint64, pair: Array, a: Array, b: Array, sums: Array) -> None:
    """Add ``sum_xy g_xyz a_xa b_yb`` to the rows z of ``sums``."""
    n, first = U(third.columns), U(pair[Z_FROM])
    for term in range(pair[FROM], pair[TO]):
        x = (U(third.rows[term, 0]) * n + U(pair[A])) * lanes
        y = (U(third.rows[term, 1]) * n + U(pair[B])) * lanes
        z, g = (U(third.rows[term, 2]) - first) * lanes, third.values[term]
        for lane in range(lanes):
            sums[z + lane] += g * a[x + lane] * b[y + lane]


@compiled
def _with_third(third: Third, lanes: np.uint64, pair: Array, sums: Array, c: Array, target: Array) -> None:
    """Add ``sum_z sums_z c_zc`` to the invariants of a pair."""
    n, first, place = U(third.columns), U(pair[Z_FROM]), U(pair[PLACE]) * lanes
    for column in range(U(pair[C]), n):
        for z in range(first, U(pair[Z_TO])):
            at, of = (z * n + column) * lanes, (z - first) * lanes
            for lane in range(lanes):
                target[place + lane] += sums[of + lane] * c[at + lane]
        place += lanes


@compiled
def _inner(third: Third, lanes: np.uint64, pair: Array, g: Array, c: Array, sums: Array) -> None:
    """Fill the rows z of ``sums`` with ``sum_c g_abc c_zc``."""
    n, first = U(third.columns), U(pair[Z_FROM])
    sums[:] = 0
    for z in range(first, U(pair[Z_TO])):
        place, of = U(pair[PLACE]) * lanes, (z - first) * lanes
        for column in range(U(pair[C]), n):
            at = (z * n + column) * lanes
            for lane in range(lanes):
                sums[of + lane] += g[place + lane] * c[at + lane]
            place += lanes


@compiled
def _third_bar(third: Third, lanes: np.uint64, pair: Array, g: Array, sums: Array, bar: Array) -> None:
    """Add ``g_abc sums_z`` to the derivative by the third factor."""
    n, first, place = U(third.columns), U(pair[Z_FROM]), U(pair[PLACE]) * lanes
    for column in range(U(pair[C]), n):
        for z in range(first, U(pair[Z_TO])):
            at, of = (z * n + column) * lanes, (z - first) * lanes
            for lane in range(lanes):
                bar[at + lane] += g[place + lane] * sums[of + lane]
        place += lanes


@compiled
def _pair_bar(third: Third, lanes: np.uint64, pair: Array, inner: Array, a: Array, bar: Array) -> None:
    """Add what goes back to the first and the second factor, of which each is multiplied with the other one in a."""
    n, first = U(third.columns), U(pair[Z_FROM])
    for term in range(pair[FROM], pair[TO]):
        x = (U(third.rows[term, 0]) * n + U(pair[A])) * lanes
        y = (U(third.rows[term, 1]) * n + U(pair[B])) * lanes
        z, g = (U(third.rows[term, 2]) - first) * lanes, third.values[term]
        for lane in range(lanes):
            bar[x + lane] += g * inner[z + lane] * a[y + lane]
        for lane in range(lanes):
            bar[y + lane] += g * inner[z + lane] * a[x + lane]


@compiled
def bispectrum(third: Third, lanes: np.uint64, a: Array, values: Array) -> None:
    """Fill B."""
    sums = np.empty(HIGHEST * int(lanes), a.dtype)
    values[:] = 0
    for pair in third.pairs:
        sums[:] = 0
        _pair(third, lanes, pair, a, a, sums)
        _with_third(third, lanes, pair, sums, a, values)


@compiled
def along(third: Third, lanes: np.uint64, a: Array, dot: Array, values: Array) -> None:
    """Fill the change of B where the environments change by ``dot``."""
    sums = np.empty(HIGHEST * int(lanes), a.dtype)
    values[:] = 0
    for pair in third.pairs:
        sums[:] = 0
        _pair(third, lanes, pair, a, a, sums)
        _with_third(third, lanes, pair, sums, dot, values)
        sums[:] = 0
        _pair(third, lanes, pair, dot, a, sums)
        _pair(third, lanes, pair, a, dot, sums)
        _with_third(third, lanes, pair, sums, a, values)


@compiled
def backward(third: Third, lanes: np.uint64, a: Array, g: Array, bar: Array) -> None:
    """Fill the derivatives by the environments from those by B."""
    sums = np.empty(HIGHEST * int(lanes), a.dtype)
    bar[:] = 0
    for pair in third.pairs:
        sums[:] = 0
        _pair(third, lanes, pair, a, a, sums)
        _third_bar(third, lanes, pair, g, sums, bar)
        _inner(third, lanes, pair, g, a, sums)
        _pair_bar(third, lanes, pair, sums, a, bar)


@compiled
def add_backward_along(third: Third, lanes: np.uint64, a: Array, dot: Array, g: Array, bar: Array) -> None:
    """Add the change of ``backward`` where the environments change by ``dot``."""
    sums = np.empty(HIGHEST * int(lanes), a.dtype)
    for pair in third.pairs:
        sums[:] = 0
        _pair(third, lanes, pair, dot, a, sums)
        _pair(third, lanes, pair, a, dot, sums)
        _third_bar(third, lanes, pair, g, sums, bar)
        _inner(third, lanes, pair, g, a, sums)
        _pair_bar(third, lanes, pair, sums, dot, bar)
        _inner(third, lanes, pair, g, dot, sums)
        _pair_bar(third, lanes, pair, sums, a, bar)
