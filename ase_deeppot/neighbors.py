"""Which atoms see each other: periodic neighbour search, and a Verlet list that reuses it.

The pair (i, j, S) joins atom i to the image of atom j that is shifted by S whole cells,

    D = r_j - r_i + S @ cell,    |D| < cutoff.

`neighbor_pairs` finds them: wrap the atoms into the cell, add the images ("ghosts") near its faces, and ask k-d
trees. Half of the ghosts and half of the pairs are enough; the other half mirrors them. What the trees return is
a list of candidates; vectors and the decision |D| < cutoff come from the positions as passed in, so that a fresh
search and a reused list give the same arrays bit for bit.
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
    shift_table: np.ndarray  # [T, 3] int64, distinct cell shifts S of the positions as passed in (not wrapped)

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
    Exact. With x' = x F + u, where F takes the periodic cell vectors of the search to the present ones, a pair
    that the search left out, |D| >= cutoff + skin, is now no closer than sigma_min(F) (cutoff + skin) - 2 max|u|.
    While that is at least the cutoff the list is complete. In a constant cell, F = 1: max|u| <= skin/2.
    """

    def __init__(self, cutoff: float, skin: float) -> None:
        self.cutoff = float(cutoff)
        self.skin = float(skin)
        self.builds = 0
        self._reference: _Reference | None = None

    def update(self, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> Pairs:
        """Pairs of the present structure: the arrays that `neighbor_pairs` returns, searching only if needed.

        Parameters and errors as for `neighbor_pairs`. Nothing is assumed of what changed since the last call.
        """
        if self._reference is None or not self._is_complete(self._reference, positions, cell, pbc):
            candidates = _search(positions, cell, pbc, self.cutoff + self.skin)
            self._reference = _Reference(np.array(positions), np.array(cell), np.array(pbc), candidates)
            self.builds += 1
        return _within(self._reference.candidates, positions, cell, self.cutoff)

    def _is_complete(self, old: "_Reference", positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> bool:
        """Whether no pair can have come closer than the cutoff unseen; false for NaN."""
        if len(positions) != len(old.positions) or not np.array_equal(pbc, old.pbc):
            return False
        moved, stretch = old.positions, 1.0
        before, now = old.cell[old.pbc], cell[old.pbc]
        if not np.array_equal(before, now):
            strain = np.eye(3) + np.linalg.pinv(before) @ (now - before)
            moved, stretch = moved @ strain, float(np.linalg.norm(strain, -2))
        step = positions - moved
        farthest = np.sqrt(np.einsum("na,na->n", step, step).max(initial=0.0))
        return bool(stretch * (self.cutoff + self.skin) - 2.0 * farthest >= self.cutoff)


class _Candidates(NamedTuple):
    """Superset of the pairs, in the order of `Pairs`."""

    i: np.ndarray  # [C] int32
    j: np.ndarray  # [C] int32
    shift_index: np.ndarray  # [C] int32
    shift_table: np.ndarray  # [T, 3] int64


class _Reference(NamedTuple):
    """The structure that was searched, own copies, and what was found."""

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
    """Vectors of the present positions, and the pairs among the candidates that are closer than the cutoff."""
    x = np.ascontiguousarray(positions.T)  # [3, N]; gathers by component are twice as fast as gathers of rows
    table = candidates.shift_table
    # Written out, as BLAS may round differently from one table size to another.
    offsets = sum(table[:, k] * cell[k][:, None] for k in range(3))  # [3, T]
    size = len(candidates.i)
    i, j, index = (np.empty(size, dtype=np.int64) for _ in range(3))
    vectors = np.empty((size, 3))
    end = 0
    for start in range(0, size, _BLOCK):
        block = tuple(array[start : start + _BLOCK].astype(np.int64) for array in candidates[:3])
        d = [x[k].take(block[1]) - x[k].take(block[0]) + offsets[k].take(block[2]) for k in range(3)]
        keep = np.flatnonzero(d[0] * d[0] + d[1] * d[1] + d[2] * d[2] < cutoff * cutoff)
        begin, end = end, end + len(keep)
        for whole, part in zip((i, j, index, *vectors.T), (*block, *d), strict=True):
            whole[begin:end] = part if len(keep) == len(part) else part.take(keep)
    return Pairs(i[:end], j[:end], vectors[:end], index[:end], table)


def _search(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, reach: float) -> _Candidates:
    """All pairs closer than ``reach``, and perhaps a few that are farther by a rounding error."""
    transform = _reduction(cell[pbc])  # [d, d]
    lattice = transform @ cell[pbc]  # [d, 3]
    inverse = np.linalg.pinv(lattice) if len(lattice) else np.zeros((3, 0))  # [3, d]
    wraps = np.floor(positions @ inverse)  # [N, d]
    wrapped = positions - wraps @ lattice
    half = _half_pairs(wrapped, lattice, inverse, reach + _ROUNDING)
    to_cell = np.zeros((len(lattice), 3), dtype=np.int64)
    to_cell[:, pbc] = transform
    return _mirrored(half, wraps.astype(np.int64), to_cell)


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
    """Images within ``margin`` [d] (fractional) of the slab that the atoms [N, d] fill, along every direction.

    Returns the shifts [K, d], row 0 zero, the others positive; of every ghost, the row of its shift and its atom.
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


def _mirrored(half: _Half, wraps: np.ndarray, to_cell: np.ndarray) -> _Candidates:
    """Both directions of every pair, sorted; shifts in the given cell, from where the atoms really are."""
    groups, group = _distinct_rows(wraps)
    g, k = len(groups), len(half.lattice_shifts)
    code = half.shift if g == 1 else (group.take(half.i) * g + group.take(half.j)) * k + half.shift
    used, index = _compact(code, g * g * k)
    from_i, to_j = np.divmod(used // k, g)
    rows = (half.lattice_shifts[used % k] + groups[from_i] - groups[to_j]) @ to_cell
    table, rank = np.unique(np.concatenate([rows, -rows]), axis=0, return_inverse=True)
    forth, back = rank.reshape(2, -1).astype(np.int32)
    shift = np.concatenate([forth.take(index), back.take(index)])
    i, j = np.concatenate([half.i, half.j]), np.concatenate([half.j, half.i])
    if half.repeated:
        order = _stable_order(shift, len(table))
        i, j, shift = i.take(order), j.take(order), shift.take(order)
    return _Candidates(*_sorted_by_atoms(i, j, shift, len(wraps)), table)


def _distinct_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`np.unique` of integer rows with its inverse, by table look-up where the integers span little."""
    if not rows.any():
        return rows[:1], np.zeros(len(rows), dtype=np.int64)
    low = rows.min(axis=0)
    spans = [int(span) for span in rows.max(axis=0) - low + 1]
    if math.prod(spans) > _TABLE:
        distinct, inverse = np.unique(rows, axis=0, return_inverse=True)
        return distinct, inverse.reshape(-1)
    used, inverse = _compact(np.ravel_multi_index(tuple((rows - low).T), spans), math.prod(spans))
    return np.stack(np.unravel_index(used, spans), axis=1) + low, inverse


def _compact(code: np.ndarray, bound: int) -> tuple[np.ndarray, np.ndarray]:
    """`np.unique` of integers in [0, bound) with its inverse, by table look-up where the bound is small."""
    if bound > _TABLE:
        return np.unique(code, return_inverse=True)
    rank = np.zeros(bound, dtype=np.int64)
    rank[code] = 1
    used = np.flatnonzero(rank)
    rank[used] = np.arange(len(used))
    return used, rank.take(code)


def _sorted_by_atoms(i: np.ndarray, j: np.ndarray, shift: np.ndarray, atoms: int) -> tuple[np.ndarray, ...]:
    """Pairs in stable order of (i, j): put into rows by j, the transposed matrix has rows by i."""
    rows_by_i = _rows(j, i, shift, (atoms, atoms)).tocsc()
    centres = np.repeat(np.arange(atoms, dtype=np.int32), np.diff(rows_by_i.indptr))
    return centres, rows_by_i.indices, rows_by_i.data


def _stable_order(key: np.ndarray, bound: int) -> np.ndarray:
    """Stable argsort of int32 in [0, bound)."""
    return _rows(key, np.arange(len(key), dtype=np.int32), np.zeros(len(key), np.int8), (bound, len(key))).indices


def _rows(row: np.ndarray, column: np.ndarray, entry: np.ndarray, shape: tuple[int, int]) -> csr_array:
    """Sparse matrix with its entries grouped by row, else in the order given: a counting sort in compiled code."""
    matrix = coo_array((entry, (row, column)), shape=shape)
    matrix.has_canonical_format = True  # else repeated entries would be added up
    return matrix.tocsr()


def _reduction(vectors: np.ndarray) -> np.ndarray:
    """Integer matrix M [d, d], det +-1, such that M @ vectors is a basis of the same lattice in short vectors.

    Greedy (Nguyen and Stehle 2009, Minkowski-reduced for d <= 3): from each vector take the nearest lattice point
    of the span of the shorter ones, until none gets shorter.
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
    """Integers c [k] that minimise |point - c @ span| for reduced vectors [k, 3]; zero if zero does as well."""
    below = np.floor(point @ np.linalg.pinv(span))
    corners = np.indices((2,) * len(span)).reshape(len(span), -1).T
    choices = np.concatenate([np.zeros((1, len(span))), below + corners])
    lengths = np.linalg.norm(point - choices @ span, axis=1)
    best = np.argmin(lengths)
    return choices[best if lengths[best] < (1.0 - 1e-9) * lengths[0] else 0].astype(np.int64)
