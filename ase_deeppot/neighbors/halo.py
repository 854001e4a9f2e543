"""A neighbour list for a part of a structure whose images are atoms of their own, as in a domain of another engine."""

import math
from typing import NamedTuple

import numpy as np

from ase_deeppot.neighbors.pairs import Pairs, within_cutoff
from ase_deeppot.neighbors.search import Candidates, search_around

NO_CELL = np.zeros((3, 3))


class _Searched(NamedTuple):
    """What was searched, as copies of our own, and what was found."""

    positions: np.ndarray  # [N, 3]
    centres: int
    candidates: Candidates


class HaloList:
    """Pairs that start from the first atoms, the candidates kept while they cannot have missed one.

    Parameters
    ----------
    cutoff : float
        Of the pairs, in A.
    skin : float
        How much farther a search looks, in A.

    Notes
    -----
    Nothing is assumed of which atoms these are: a list of other atoms, or of the same in another order, is one
    whose atoms have moved far.
    """

    def __init__(self, cutoff: float, skin: float) -> None:
        self.cutoff, self.skin = float(cutoff), float(skin)
        self._searched: _Searched | None = None

    def update(self, positions: np.ndarray, centres: int) -> Pairs:
        """Pairs around the first ``centres`` of the atoms [N, 3], A, with any of them.

        Raises
        ------
        ValueError
            If a position is not finite.
        """
        if self._searched is None or not self._is_complete(self._searched, positions, centres):
            found = search_around(positions, centres, self.cutoff + self.skin)
            self._searched = _Searched(np.array(positions), centres, found)
        return within_cutoff(self._searched.candidates, positions, NO_CELL, self.cutoff)

    def _is_complete(self, old: _Searched, positions: np.ndarray, centres: int) -> bool:
        """Whether no pair can have come closer than the cutoff unseen; false if a position is NaN."""
        if len(positions) != len(old.positions) or centres != old.centres:
            return False
        step = positions - old.positions
        return 2.0 * math.sqrt(np.einsum("na,na->n", step, step).max(initial=0.0)) <= self.skin
