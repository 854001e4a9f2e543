"""The pairs of a structure on a GPU: vectors, and which candidates are closer than the cutoff."""

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ase_deeppot.neighbors import Backend
from ase_deeppot.potential.on_gpu.search import Candidates, search

BLOCK = 1 << 24  # candidates at a time


class Pairs(NamedTuple):
    """As `neighbors.Pairs`, ascending in i; on the device."""

    i: Tensor  # [E] int32, centre
    j: Tensor  # [E] int32, neighbour
    vectors: Tensor  # [E, 3] float64, A


def within_cutoff(candidates: Candidates, positions: np.ndarray, cell: np.ndarray, cutoff: float) -> Pairs:
    """Vectors between the present positions, and the candidates that are closer than the cutoff."""
    device = candidates.i.device
    x, lattice = (torch.from_numpy(part).to(device) for part in (positions, cell))
    wrapped, offsets = x - candidates.wraps @ lattice, candidates.shifts @ lattice
    parts = []
    for i, j, shift in zip(*(part.split(BLOCK) for part in candidates[:3]), strict=True):
        v = wrapped.index_select(0, j) - wrapped.index_select(0, i) + offsets.index_select(0, shift.int())
        kept = (v.square().sum(dim=1) < cutoff * cutoff).nonzero()[:, 0]
        parts.append(tuple(part.index_select(0, kept) for part in (i, j, v)))
    return Pairs(*(torch.cat(part) for part in zip(*parts, strict=True)))


def backend(device: torch.device) -> Backend:
    """For `VerletList`, to search and to filter there."""
    return Backend(partial(search, device=device), within_cutoff)
