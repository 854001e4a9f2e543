"""Bins of atoms: parallelepipeds at least as thick as the reach of a search, so that 27 of them hold all neighbours."""

from typing import NamedTuple, Optional

import numpy as np
import torch
from torch import Tensor

FEWEST = 3  # bins along a periodic direction; with fewer, one bin would be seen from two sides
ATOMS_PER_BIN = 0.25  # of a structure with much empty space, at least


class Bins(NamedTuple):
    """Where the atoms are. Bins along the last direction follow each other."""

    counts: Tensor  # [3] int64, bins along each direction
    periodic: Tensor  # [3] bool
    places: Tensor  # [N, 3] int64, of each atom
    wraps: Tensor  # [N, 3] float64, whole cells between the atom and its image in the cell
    order: Tensor  # [N] int64, atoms bin by bin
    first: Tensor  # [B + 1] int64, where each bin begins in it


def bins(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, reach: float,
         device: torch.device) -> Optional[Bins]:
    """Sort the atoms into bins; none if there are no atoms, or the cell is too small for three bins."""
    if len(positions) == 0:
        return None
    inverse = np.linalg.inv(_box(cell, pbc))
    fractional = torch.from_numpy(positions).to(device) @ torch.from_numpy(inverse).to(device)
    periodic = torch.from_numpy(pbc).to(device)
    wraps = torch.where(periodic, fractional.floor(), 0.0)
    fractional -= torch.where(periodic, wraps, fractional.amin(dim=0))
    span = np.where(pbc, 1.0, fractional.amax(dim=0).cpu().numpy())
    counts = _counts(span / np.linalg.norm(inverse, axis=0), pbc, reach, len(positions))
    if (counts[pbc] < FEWEST).any():
        return None
    scale = torch.from_numpy(counts / np.maximum(span, np.finfo(float).tiny)).to(device)
    number = torch.from_numpy(counts).to(device)
    places = torch.minimum((fractional * scale).long().clamp(min=0), number - 1)
    return Bins(number, periodic, places, wraps, *_sorted(flat(places, number), int(counts.prod())))


def flat(places: Tensor, counts: Tensor) -> Tensor:
    """Number of the bin at a place, [...] from [..., 3]."""
    return (places[..., 0] * counts[1] + places[..., 1]) * counts[2] + places[..., 2]


def _sorted(of_atoms: Tensor, n_bins: int) -> tuple[Tensor, Tensor]:
    ascending, order = torch.sort(of_atoms, stable=True)
    edges = torch.arange(n_bins + 1, device=of_atoms.device)
    return order, torch.searchsorted(ascending, edges)


def _box(cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """The periodic cell vectors, and unit vectors across them for the other directions; [3, 3]."""
    box = np.where(pbc[:, None], cell, 0.0)
    _, _, across = np.linalg.svd(box[pbc]) if pbc.any() else (None, None, np.eye(3))
    box[~pbc] = across[int(pbc.sum()):]
    return box


def _counts(thickness: np.ndarray, pbc: np.ndarray, reach: float, n_atoms: int) -> np.ndarray:
    """As many bins as the reach allows, and no more of them than there are atoms to look for."""
    counts = np.maximum(1.0, np.floor(thickness / reach))
    most = n_atoms / ATOMS_PER_BIN + FEWEST**3
    while counts.prod() > most:
        longest = int(np.argmax(counts))
        counts[longest] = max(FEWEST, counts[longest] // 2)
    return counts.astype(np.int64)
