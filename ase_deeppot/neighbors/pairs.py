"""The pairs of a structure: vectors, and the decision which candidates are closer than the cutoff."""

from typing import NamedTuple

import numpy as np

from ase_deeppot.compiler import compilable
from ase_deeppot.neighbors.search import Candidates, search

# Candidates handled at a time: the temporaries of one block stay in the cache.
_BLOCK = 1 << 15


class Pairs(NamedTuple):
    """Full list of directed pairs, self images included, sorted by i, then j, then shift (lexicographic)."""

    i: np.ndarray  # [E] int64, centre
    j: np.ndarray  # [E] int64, neighbour
    vectors: np.ndarray  # [E, 3] float64, A, D = r_j - r_i + S @ cell
    shift_index: np.ndarray  # [E] unsigned, of few bytes, row of shift_table
    shift_table: np.ndarray  # [T, 3] int64, cell shifts S between the positions as passed in (not wrapped)

    @property
    def shifts(self) -> np.ndarray:
        """Cell shift S of every pair, [E, 3] int64; made on request, for few callers want it."""
        return self.shift_table.take(self.shift_index, axis=0)


def neighbor_pairs(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float) -> Pairs:
    """All pairs of atoms closer than the cutoff, in any cell and periodicity.

    Parameters
    ----------
    positions : ndarray, [N, 3] float64
        In A; need not lie inside the cell.
    cell : ndarray, [3, 3] float64
        In A, one cell vector a row; those along non-periodic directions are ignored and may be zero.
    pbc : ndarray, [3] bool
        Which directions are periodic; their cell vectors must be independent.
    cutoff : float
        In A; may exceed the cell. A pair at exactly this distance is left out.

    Returns
    -------
    Pairs
        Distinct atoms at the same place are a pair; an atom and itself at zero shift are not.

    Raises
    ------
    ValueError
        If a position is not finite.
    """
    return within_cutoff(search(positions, cell, pbc, cutoff), positions, cell, cutoff)


def within_cutoff(candidates: Candidates, positions: np.ndarray, cell: np.ndarray, cutoff: float) -> Pairs:
    """Vectors between the present positions, and the candidates that are closer than the cutoff."""
    s = candidates.shift_table[:, :, None]  # [T, 3, 1]
    # Spelt out, as BLAS may round differently from one size of the table to another.
    offsets = s[:, 0] * cell[0] + s[:, 1] * cell[1] + s[:, 2] * cell[2]  # [T, 3]
    size = len(candidates.i)
    i, j, index = (np.empty(size, dtype=kind) for kind in (np.int64, np.int64, candidates.shift_index.dtype))
    vectors = np.empty((size, 3))
    keep = _keep_compiled if compilable() else _keep
    end = keep(candidates, positions, offsets, cutoff, i, j, vectors, index)
    return Pairs(i[:end], j[:end], vectors[:end], index[:end], candidates.shift_table)


def _keep_compiled(candidates: Candidates, positions: np.ndarray, offsets: np.ndarray, cutoff: float,
                   *out: np.ndarray) -> int:
    from ase_deeppot.neighbors import kernels

    return kernels.keep(*candidates[:3], positions, offsets, cutoff, *out)


def _keep(candidates: Candidates, positions: np.ndarray, offsets: np.ndarray, cutoff: float, i: np.ndarray,
          j: np.ndarray, vectors: np.ndarray, index: np.ndarray) -> int:
    """Move what is closer than the cutoff to the front of the arrays; returns how many pairs that are."""
    x = np.ascontiguousarray(positions.T)  # [3, N]: gathering numbers is twice as fast as gathering rows
    offsets = np.ascontiguousarray(offsets.T)
    end = 0
    for start in range(0, len(candidates.i), _BLOCK):
        block = [array[start : start + _BLOCK].astype(np.int64) for array in candidates[:3]]
        d = [x[k].take(block[1]) - x[k].take(block[0]) + offsets[k].take(block[2]) for k in range(3)]
        near = np.flatnonzero(d[0] * d[0] + d[1] * d[1] + d[2] * d[2] < cutoff * cutoff)
        begin, end = end, end + len(near)
        for whole, part in zip((i, j, index, *vectors.T), (*block, *d), strict=True):
            whole[begin:end] = part if len(near) == len(part) else part.take(near)
    return end
