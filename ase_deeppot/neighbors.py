"""Which atoms see each other: periodic neighbour search, and a Verlet list that reuses it.

The pair (i, j, S) joins atom i to the image of atom j that is shifted by S whole cells,

    D = r_j - r_i + S @ cell,    |D| < cutoff.

`neighbor_pairs` finds them: wrap the atoms into the cell, add images ("ghosts") near its faces, and ask k-d
trees. Half of the ghosts and half of the pairs are enough, the other half mirrors them. These are candidates;
vectors and the decision |D| < cutoff come from the positions as passed in, and the order is fixed, so that a
fresh search and a reused list give the same arrays bit for bit.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.spatial import cKDTree

# Wrapping moves an atom by rounding errors; the trees look this much farther (A), the exact test comes later.
_ROUNDING = 1e-6
# Pairs handled at a time: the temporaries of one block stay in the cache.
_BLOCK = 1 << 16
# Largest look-up table that replaces a sort.
_TABLE = 1 << 22
# Points in random order gain nothing from balanced trees or tight boxes.
_TREE = {"leafsize": 16, "balanced_tree": False, "compact_nodes": False}


class Pairs(NamedTuple):
    """Full list of directed pairs, self images included, sorted by i, then j, then shift (lexicographic)."""

    i: np.ndarray  # [E] int64, centre
    j: np.ndarray  # [E] int64, neighbour
    vectors: np.ndarray  # [E, 3] float64, A, D = r_j - r_i + S @ cell
    shift_index: np.ndarray  # [E] int64, row of shift_table
    shift_table: np.ndarray  # [T, 3] int64, cell shifts S between the positions as passed in (not wrapped)

    @property
    def shifts(self) -> np.ndarray:
        """Cell shift S of every pair, [E, 3] int64; made on request, for few callers want it."""
        return self.shift_table[self.shift_index]


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
    return _within(_search(positions, cell, pbc, cutoff), positions, cell, cutoff)


class VerletList:
    """Neighbour list with a skin: the candidates of one search serve until they might miss a pair.

    Parameters
    ----------
    cutoff : float
        Of the pairs, in A.
    skin : float
        How much farther the search looks, in A. Wide: few searches, many candidates to filter.

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

    def __init__(self, cutoff: float, skin: float) -> None:
        self.cutoff = float(cutoff)
        self.skin = float(skin)
        self.builds = 0
        self._searched: _Searched | None = None

    def update(self, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> Pairs:
        """Pairs of the present structure: the arrays that `neighbor_pairs` gives, searching only if needed.

        Parameters and errors as for `neighbor_pairs`. Nothing is assumed of what changed since the last call;
        after an error the list is as it was before.
        """
        if self._searched is None or not self._is_complete(self._searched, positions, cell, pbc):
            found = _search(positions, cell, pbc, self.cutoff + self.skin)
            self._searched = _Searched(np.array(positions), np.array(cell), np.array(pbc), found)
            self.builds += 1
        return _within(self._searched.candidates, positions, cell, self.cutoff)

    def _is_complete(
        self, old: "_Searched", positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray
    ) -> bool:
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


class _Candidates(NamedTuple):
    """Superset of the pairs, in the order of `Pairs`."""

    i: np.ndarray  # [C] int32
    j: np.ndarray  # [C] int32
    shift_index: np.ndarray  # [C] int32
    shift_table: np.ndarray  # [T, 3] int64


class _Searched(NamedTuple):
    """What was searched, as copies of our own, and what was found."""

    positions: np.ndarray  # [N, 3]
    cell: np.ndarray  # [3, 3]
    pbc: np.ndarray  # [3]
    candidates: _Candidates


class _Half(NamedTuple):
    """One of the two directions of every pair of wrapped atoms."""

    i: np.ndarray  # [H] int32
    j: np.ndarray  # [H] int32
    shift: np.ndarray  # [H] int32, row of lattice_shifts
    lattice_shifts: np.ndarray  # [K, d] int64, in the reduced basis; row 0 is zero
    repeated: bool  # whether an atom may see more than one image of another


def _within(candidates: _Candidates, positions: np.ndarray, cell: np.ndarray, cutoff: float) -> Pairs:
    """Vectors between the present positions, and the candidates that are closer than the cutoff."""
    x = np.ascontiguousarray(positions.T)  # [3, N]: gathering numbers is twice as fast as gathering rows
    s = candidates.shift_table.T[:, :, None]  # [3, T, 1]
    # Spelt out, as BLAS may round differently from one size of the table to another.
    offsets = np.ascontiguousarray((s[0] * cell[0] + s[1] * cell[1] + s[2] * cell[2]).T)  # [3, T]
    size = len(candidates.i)
    i, j, index = (np.empty(size, dtype=np.int64) for _ in range(3))
    vectors = np.empty((size, 3))
    end = 0
    for start in range(0, size, _BLOCK):
        block = [array[start : start + _BLOCK].astype(np.int64) for array in candidates[:3]]
        d = [x[k].take(block[1]) - x[k].take(block[0]) + offsets[k].take(block[2]) for k in range(3)]
        keep = np.flatnonzero(d[0] * d[0] + d[1] * d[1] + d[2] * d[2] < cutoff * cutoff)
        begin, end = end, end + len(keep)
        for whole, part in zip((i, j, index, *vectors.T), (*block, *d), strict=True):
            whole[begin:end] = part if len(keep) == len(part) else part.take(keep)
    return Pairs(i[:end], j[:end], vectors[:end], index[:end], candidates.shift_table)


def _search(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, reach: float) -> _Candidates:
    """All pairs closer than ``reach``, and perhaps a few that are farther by a rounding error."""
    if not np.isfinite(positions).all():
        raise ValueError("expected finite positions, got nan or inf")
    transform = _reduction(cell[pbc])  # [d, d]
    lattice = transform @ cell[pbc]  # [d, 3]
    inverse = np.linalg.pinv(lattice) if len(lattice) else np.zeros((3, 0))  # [3, d]
    wraps = np.floor(positions @ inverse)  # [N, d]
    half = _half_pairs(positions - wraps @ lattice, lattice, inverse, reach + _ROUNDING)
    to_cell = np.zeros((len(lattice), 3), dtype=np.int64)
    to_cell[:, pbc] = transform
    return _mirrored(half, *_cell_shifts(half, wraps.astype(np.int64), to_cell), len(positions))


def _half_pairs(wrapped: np.ndarray, lattice: np.ndarray, inverse: np.ndarray, reach: float) -> _Half:
    """Pairs among the atoms themselves, and of atoms with the ghosts at lexicographically positive shifts."""
    lattice_shifts, shift, atom = _ghosts(wrapped @ inverse, reach * np.linalg.norm(inverse, axis=0))
    tree = cKDTree(wrapped, **_TREE)
    real = tree.query_pairs(reach, output_type="ndarray")
    ghosts = wrapped.take(atom, axis=0) + (lattice_shifts @ lattice).take(shift, axis=0)
    image = tree.sparse_distance_matrix(cKDTree(ghosts, **_TREE), reach, output_type="ndarray")
    own = np.zeros(len(real), dtype=np.int32)
    return _Half(
        np.concatenate([real[:, 0], image["i"]], dtype=np.int32),
        np.concatenate([real[:, 1], atom.take(image["j"])], dtype=np.int32),
        np.concatenate([own, shift.take(image["j"])], dtype=np.int32),
        lattice_shifts,
        bool((reach * np.linalg.norm(inverse, axis=0) > 0.5).any()),
    )


def _ghosts(fractional: np.ndarray, margin: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images within ``margin`` [d] of the range that the atoms span, in fractional coordinates [N, d].

    Returns shifts [K, d], of which row 0 is zero and the others positive; of each ghost, row of shift and atom.
    """
    low, high = fractional.min(axis=0, initial=1.0), fractional.max(axis=0, initial=0.0)
    most = np.floor(np.maximum(high - low, 0.0) + margin).astype(np.int64)
    box = tuple(2 * most + 1)
    shifts = np.indices(box).reshape(len(box), math.prod(box)).T - most
    shifts = shifts[len(shifts) // 2 :]
    near = np.ones((len(shifts), len(fractional)), dtype=bool)
    for k, m in enumerate(most):
        moved = fractional[:, k] + np.arange(-m, m + 1)[:, None]  # [2m + 1, N]
        inside = (moved >= low[k] - margin[k]) & (moved <= high[k] + margin[k])
        near &= inside[shifts[:, k] + m]
    near[0] = False
    return shifts, *np.nonzero(near)


def _cell_shifts(half: _Half, wraps: np.ndarray, to_cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shifts counted in the given cell and between the unwrapped atoms [T, 3]; the row of every pair [H]."""
    if not wraps.any():
        return half.lattice_shifts @ to_cell, half.shift
    columns = [
        lattice_shift.take(half.shift) + wrap.take(half.i) - wrap.take(half.j)
        for lattice_shift, wrap in zip(half.lattice_shifts.T, wraps.T, strict=True)
    ]
    low = [int(column.min(initial=0)) for column in columns]
    spans = [int(column.max(initial=0)) - least + 1 for column, least in zip(columns, low, strict=True)]
    if math.prod(spans) >= 2**62:  # atoms millions of cells away: no number can stand for a shift
        rows, index = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)
        return rows @ to_cell, index.reshape(-1)
    code = np.ravel_multi_index([column - least for column, least in zip(columns, low, strict=True)], spans)
    used, index = _distinct(code, math.prod(spans))
    return (np.stack(np.unravel_index(used, spans), axis=1) + low) @ to_cell, index


def _distinct(code: np.ndarray, bound: int) -> tuple[np.ndarray, np.ndarray]:
    """`np.unique` of integers in [0, bound) with its inverse, by table look-up where the bound is small."""
    if bound > _TABLE:
        return np.unique(code, return_inverse=True)
    rank = np.zeros(bound, dtype=np.int64)
    rank[code] = 1
    used = np.flatnonzero(rank)
    rank[used] = np.arange(len(used))
    return used, rank.take(code)


def _mirrored(half: _Half, shifts: np.ndarray, index: np.ndarray, atoms: int) -> _Candidates:
    """Both directions of every pair, sorted."""
    table, rank = np.unique(np.concatenate([shifts, -shifts]), axis=0, return_inverse=True)
    forth, back = rank.reshape(2, -1).astype(np.int32)
    i, j = np.concatenate([half.i, half.j]), np.concatenate([half.j, half.i])
    shift = np.concatenate([forth.take(index), back.take(index)])
    if half.repeated:
        order = _rows(shift, np.arange(len(shift)), shift, (len(table), len(shift))).indices
        i, j, shift = i.take(order), j.take(order), shift.take(order)
    by_i = _rows(j, i, shift, (atoms, atoms)).tocsc()
    i = np.repeat(np.arange(atoms, dtype=np.int32), np.diff(by_i.indptr))
    return _Candidates(i, by_i.indices, by_i.data, table)


def _rows(row: np.ndarray, column: np.ndarray, entry: np.ndarray, shape: tuple[int, int]) -> csr_array:
    """Sparse matrix, entries grouped by row and else in the order given: a counting sort in compiled code."""
    matrix = coo_array((entry, (row, column)), shape=shape)
    matrix.has_canonical_format = True  # else repeated entries would be added up
    return matrix.tocsr()


def _reduction(vectors: np.ndarray) -> np.ndarray:
    """Integer matrix M [d, d] of determinant +-1, such that M @ vectors span the same lattice and are short.

    Greedy reduction (Nguyen and Stehle, 2009; Minkowski's up to d = 3): from each vector take the nearest
    point of the lattice of the shorter ones, until none gets shorter.
    """
    basis = np.eye(len(vectors), dtype=np.int64)
    while True:
        basis = basis[np.argsort(np.linalg.norm(basis @ vectors, axis=1), kind="stable")]
        before = basis.copy()
        for k in range(1, len(basis)):
            basis[k] -= _nearest(basis[:k] @ vectors, basis[k] @ vectors) @ basis[:k]
        if np.array_equal(basis, before):
            return basis


def _nearest(span: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Integers c [k] that minimise |point - c @ span| for reduced vectors [k, 3]; zero if as good."""
    below = np.floor(point @ np.linalg.pinv(span))
    corners = np.indices((2,) * len(span)).reshape(len(span), -1).T
    choices = np.concatenate([np.zeros((1, len(span))), below + corners])
    lengths = np.linalg.norm(point - choices @ span, axis=1)
    best = np.argmin(lengths)
    return choices[best if lengths[best] < (1.0 - 1e-9) * lengths[0] else 0].astype(np.int64)
