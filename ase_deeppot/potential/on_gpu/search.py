"""Candidates by bins, all atoms at once: the same pairs as `neighbors.search`, found where they are needed."""

from typing import Iterator, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ase_deeppot.neighbors import neighbor_pairs
from ase_deeppot.potential.on_gpu.cells import Bins, bins, flat

DISTANCES = 1 << 24  # computed at a time
AROUND = np.indices((3, 3, 3)).reshape(3, 27).T - 1  # [27, 3], bins to look into
HERE = 13  # row of AROUND that is zero


class Candidates(NamedTuple):
    """Directed pairs, ascending in i, some of them farther than the cutoff; on the device.

    The shift between the positions as passed in is ``shifts[shift_index] + wraps[i] - wraps[j]``.
    """

    i: Tensor  # [C] int32
    j: Tensor  # [C] int32
    shift_index: Tensor  # [C] uint8 or int32, row of shifts
    shifts: Tensor  # [K, 3] float64, whole cells
    wraps: Tensor  # [N, 3] float64, whole cells


def search(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, reach: float, device: torch.device) -> Candidates:
    """All pairs closer than ``reach``; as `neighbors.search`, which small cells are left to."""
    if not np.isfinite(positions).all():
        raise ValueError("expected finite positions, got nan or inf")
    found = bins(positions, cell, pbc, reach, device)
    if found is None:
        return _searched_here(positions, cell, pbc, reach, device)
    around, shifts = (torch.from_numpy(part).to(device) for part in (AROUND, AROUND.astype(float)))
    lattice = torch.from_numpy(np.where(pbc[:, None], cell, 0.0)).to(device)
    wrapped, offsets = torch.from_numpy(positions).to(device) - found.wraps @ lattice, shifts @ lattice
    parts = [_near(*pairs, wrapped, offsets, reach) for pairs in _pairs_of_bins(found, around)]
    i, j, code = (torch.cat(part) for part in zip(*parts, strict=True))
    return Candidates(i, j, code, shifts, found.wraps)


def _searched_here(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, reach: float,
                   device: torch.device) -> Candidates:
    """By k-d trees."""
    pairs = neighbor_pairs(positions, cell, pbc, reach)
    parts = pairs.i.astype(np.int32), pairs.j.astype(np.int32), pairs.shift_index.astype(np.int32)
    more = pairs.shift_table.astype(float), np.zeros_like(positions)
    return Candidates(*(torch.from_numpy(part).to(device) for part in (*parts, *more)))


def _pairs_of_bins(found: Bins, around: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Every atom with every one in the bins around it: i, j, and the row of shifts; a group of atoms at a time."""
    sizes = found.first.diff()
    most = max(1, DISTANCES // max(1, 27 * int(sizes.max())))
    for places in torch.arange(len(found.places), device=sizes.device).split(most):
        seen = found.places[places][:, None] + around  # [n, 27, 3]
        shift = torch.div(seen, found.counts, rounding_mode="floor")
        bin_ = flat(seen - shift * found.counts, found.counts)  # [n, 27]
        there = (found.periodic | (shift == 0)).all(dim=-1)
        number = torch.where(there, sizes[bin_], 0).flatten()
        row = torch.repeat_interleave(number)  # of [n, 27], of each pair
        begin = number.cumsum(0) - number
        j = found.order[found.first[bin_].flatten()[row] + torch.arange(len(row), device=row.device) - begin[row]]
        code = (shift[..., 0] * 9 + shift[..., 1] * 3 + shift[..., 2] + HERE).flatten()
        yield places[row // 27], j, code[row]


def _near(i: Tensor, j: Tensor, code: Tensor, wrapped: Tensor, offsets: Tensor, reach: float,
          ) -> tuple[Tensor, Tensor, Tensor]:
    """Those within reach, without each atom itself."""
    v = wrapped[j] - wrapped[i] + offsets[code]
    near = (v.square().sum(dim=1) < reach * reach) & ((i != j) | (code != HERE))
    kept = near.nonzero()[:, 0]
    return i[kept].int(), j[kept].int(), code[kept].to(torch.uint8)
