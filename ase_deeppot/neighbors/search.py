"""Periodic neighbour search: wrap the atoms, add images ("ghosts") near the faces, ask k-d trees, mirror.

Half of the ghosts, those at lexicographically positive shifts, and one direction of every pair are enough.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.spatial import cKDTree

from ase_deeppot.neighbors.lattice import reduction

# Wrapping moves an atom by rounding errors; the trees look this much farther (A), the exact test comes later.
_ROUNDING = 1e-6
# Largest look-up table that replaces a sort.
_TABLE = 1 << 22
# Points in no order gain nothing from balanced trees or tight boxes.
_TREE = {"leafsize": 16, "balanced_tree": False, "compact_nodes": False}


class Candidates(NamedTuple):
    """Directed pairs in the order of `Pairs`, some of them farther than the cutoff."""

    i: np.ndarray  # [C] int32
    j: np.ndarray  # [C] int32
    shift_index: np.ndarray  # [C] the smallest unsigned type that holds it
    shift_table: np.ndarray  # [T, 3] int64


class _Half(NamedTuple):
    """One of the two directions of every pair of wrapped atoms."""

    i: np.ndarray  # [H] int32
    j: np.ndarray  # [H] int32
    shift: np.ndarray  # [H] int32, row of lattice_shifts
    lattice_shifts: np.ndarray  # [K, d] int64, in the reduced basis; row 0 is zero
    repeated: bool  # whether an atom may see more than one image of another


def search(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, reach: float) -> Candidates:
    """All pairs closer than ``reach``, and perhaps a few that are farther by a rounding error."""
    if not np.isfinite(positions).all():
        raise ValueError("expected finite positions, got nan or inf")
    transform = reduction(cell[pbc])  # [d, d]
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
    rows, index = _distinct_rows(columns)
    return rows @ to_cell, index


def _distinct_rows(columns: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """`np.unique` of rows of integers with its inverse, by table look-up where they span little, as they do."""
    low = [int(column.min(initial=0)) for column in columns]
    spans = [int(column.max(initial=0)) - least + 1 for column, least in zip(columns, low, strict=True)]
    if math.prod(spans) > _TABLE:
        rows, inverse = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)
        return rows, inverse.reshape(-1)
    code = np.ravel_multi_index([column - least for column, least in zip(columns, low, strict=True)], spans)
    rank = np.zeros(math.prod(spans), dtype=np.int64)
    rank[code] = 1
    used = np.flatnonzero(rank)
    rank[used] = np.arange(len(used))
    return np.stack(np.unravel_index(used, spans), axis=1) + low, rank.take(code)


def _mirrored(half: _Half, shifts: np.ndarray, index: np.ndarray, atoms: int) -> Candidates:
    """Both directions of every pair, sorted."""
    table, rank = np.unique(np.concatenate([shifts, -shifts]), axis=0, return_inverse=True)
    forth, back = rank.reshape(2, -1).astype(np.min_scalar_type(len(table)))  # few bytes to move about
    i, j = np.concatenate([half.i, half.j]), np.concatenate([half.j, half.i])
    shift = np.concatenate([forth.take(index), back.take(index)])
    if half.repeated:
        order = _rows(shift, np.arange(len(shift)), shift, (len(table), len(shift))).indices
        i, j, shift = i.take(order), j.take(order), shift.take(order)
    by_i = _rows(j, i, shift, (atoms, atoms)).tocsc()
    i = np.repeat(np.arange(atoms, dtype=np.int32), np.diff(by_i.indptr))
    return Candidates(i, by_i.indices, by_i.data, table)


def _rows(row: np.ndarray, column: np.ndarray, entry: np.ndarray, shape: tuple[int, int]) -> csr_array:
    """Sparse matrix, entries grouped by row and else in the order given: a counting sort in compiled code."""
    matrix = coo_array((entry, (row, column)), shape=shape)
    matrix.has_canonical_format = True  # else repeated entries would be added up
    return matrix.tocsr()


def search_around(positions: np.ndarray, centres: int, reach: float) -> Candidates:
    """All pairs closer than ``reach`` that start from the first atoms; nothing is periodic, the others are images."""
    if not np.isfinite(positions).all():
        raise ValueError("expected finite positions, got nan or inf")
    tree = cKDTree(positions[:centres], **_TREE)
    own = tree.query_pairs(reach + _ROUNDING, output_type="ndarray")
    outer = tree.sparse_distance_matrix(cKDTree(positions[centres:], **_TREE), reach + _ROUNDING, output_type="ndarray")
    i = np.concatenate([own[:, 0], own[:, 1], outer["i"]])
    j = np.concatenate([own[:, 1], own[:, 0], outer["j"] + centres])
    by_i = _rows(j, i, np.zeros(len(i), dtype=np.uint8), (len(positions), centres)).tocsc()
    i = np.repeat(np.arange(centres, dtype=np.int32), np.diff(by_i.indptr))
    return Candidates(i, by_i.indices, by_i.data, np.zeros((1, 3), dtype=np.int64))
