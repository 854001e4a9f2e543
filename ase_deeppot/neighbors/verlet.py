"""A neighbour list that is reused while the atoms and the cell change little."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ase_deeppot.neighbors.pairs import within_cutoff
from ase_deeppot.neighbors.search import search


class _Searched(NamedTuple):
    """What was searched, as copies of our own, and what was found."""

    positions: np.ndarray  # [N, 3]
    cell: np.ndarray  # [3, 3]
    pbc: np.ndarray  # [3]
    candidates: Any


class Backend(NamedTuple):
    """How candidates are found, and pairs among them: here, or where the model runs."""

    search: Callable[[np.ndarray, np.ndarray, np.ndarray, float], Any] = search
    within_cutoff: Callable[[Any, np.ndarray, np.ndarray, float], Any] = within_cutoff


class VerletList:
    """Neighbour list with a skin: the candidates of one search serve until they might miss a pair.

    Parameters
    ----------
    cutoff : float
        Of the pairs, in A.
    skin : float
        How much farther the search looks, in A. Wide: few searches, many candidates to filter.
    backend : Backend, optional
        Who searches; by default `search` and `within_cutoff`, with arrays.

    Attributes
    ----------
    builds : int
        Number of searches made so far.

    Notes
    -----
    Exact. Let x' = x F + u, where F takes the periodic cell vectors of the search to the present ones. A pair
    that the search left out, |D| >= cutoff + skin, is now no closer than

        sigma_min(F) (cutoff + skin) - 2 max|u|,

    and while that is at least the cutoff the list is complete. In a constant cell, F = 1: max|u| <= skin/2.
    """

    def __init__(self, cutoff: float, skin: float, backend: Backend | None = None) -> None:
        self.cutoff = float(cutoff)
        self.skin = float(skin)
        self.backend = backend or Backend()
        self.builds = 0
        self._searched: _Searched | None = None

    def update(self, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> Any:
        """Pairs of the present structure: the arrays that `neighbor_pairs` gives, searching only if needed.

        Parameters and errors as for `neighbor_pairs`. Nothing is assumed of what changed since the last call;
        after an error the list is as it was before.
        """
        if self._searched is None or not self._is_complete(self._searched, positions, cell, pbc):
            found = self.backend.search(positions, cell, pbc, self.cutoff + self.skin)
            self._searched = _Searched(np.array(positions), np.array(cell), np.array(pbc), found)
            self.builds += 1
        return self.backend.within_cutoff(self._searched.candidates, positions, cell, self.cutoff)

    def _is_complete(self, old: _Searched, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> bool:
        """Whether no pair can have come closer than the cutoff unseen; false if a position is NaN."""
        if len(positions) != len(old.positions) or not np.array_equal(pbc, old.pbc):
            return False
        carried, stretch = old.positions, 1.0
        before, now = old.cell[old.pbc], cell[old.pbc]
        if not np.array_equal(before, now):
            strain = np.eye(3) + np.linalg.pinv(before) @ (now - before)
            carried, stretch = carried @ strain, float(np.linalg.norm(strain, -2))
        step = positions - carried
        farthest = math.sqrt(np.einsum("na,na->n", step, step).max(initial=0.0))
        return stretch * (self.cutoff + self.skin) - 2.0 * farthest >= self.cutoff
