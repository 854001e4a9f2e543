"""The shortest series that are the same functions.

An embedding net varies most where most neighbours are, at small s, and little up to the closest distance. In a variable
x that gives small s more of its range (``bend`` of `moments.Basis`), its series needs fewer terms: 39 instead of 50 for
a water model of DeePMD-kit in double precision.
"""

from typing import NamedTuple, Tuple

import torch
from torch import Tensor, nn

from ase_deeppot.potential.chebyshev import nodes, polynomials, transform
from ase_deeppot.potential.directions import MULTIPLE
from ase_deeppot.potential.embedding_series import Series

BENDS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)


class ShortSeries(NamedTuple):
    """Series of a multiple of ``MULTIPLE`` terms, in the variable x of this bend."""

    series: Series
    order: int
    bend: float


def shortest(series: Series, n_types: int, tolerance: float) -> ShortSeries:
    """Without the last terms, as many as weigh less than ``tolerance`` of all, in the variable that needs fewest."""
    parts = tuple(part.unflatten(1, (n_types, -1)) for part in series.matrices())  # [T, T, L, M] each
    found = [_of_bend(parts, bend, tolerance) for bend in BENDS]
    best = min(range(len(found)), key=lambda k: found[k][0].shape[2])
    radial, angular, *higher = (part.flatten(1, 2) for part in found[best])
    short = Series(radial, angular, series.constant, tuple(higher))
    return ShortSeries(short, found[best][0].shape[2], BENDS[best])


def _of_bend(parts: Tuple[Tensor, ...], bend: float, tolerance: float) -> Tuple[Tensor, ...]:
    if bend == 0.0:
        return _truncated(parts, tolerance, spare=0)
    change = _change(parts[0].shape[2], bend)
    return _truncated(tuple(change @ part for part in parts), tolerance, spare=1)  # for the slopes' last term


def _change(order: int, bend: float) -> Tensor:
    """From the coefficients of a polynomial of 2 s / s_max - 1 to those in the bent variable, [2 L, L]."""
    w = 0.5 * (nodes(2 * order) + 1.0)
    s = w / (1.0 + bend * (1.0 - w))  # in units of s_max
    return transform(2 * order) @ polynomials(2.0 * s - 1.0, order)[0].t()


def _truncated(parts: Tuple[Tensor, ...], tolerance: float, spare: int) -> Tuple[Tensor, ...]:
    """Filled up with zeros to a multiple of ``MULTIPLE`` terms, the last ``spare`` of them zero for certain."""
    by_term = torch.stack([part.square().sum(dim=(0, 1, 3)) for part in parts]).sum(0)
    weights = by_term.flip(0).cumsum(0).flip(0)
    order = max(2, int((weights > tolerance**2 * weights[0]).sum()))
    length = -(-(order + spare) // MULTIPLE) * MULTIPLE
    kept = length - spare
    return tuple(nn.functional.pad(part[:, :, :kept], [0, 0, 0, length - min(kept, part.shape[2])]) for part in parts)
