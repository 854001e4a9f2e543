"""A model in torch alone: any device, atoms in groups that bound the memory."""

from typing import Iterator, Optional, Tuple

import numpy as np
import torch

from ase_deeppot.neighbors import Pairs
from ase_deeppot.potential.derivatives import forces, virials
from ase_deeppot.potential.folded_pairwise import PairwisePotential
from ase_deeppot.potential.folding import Folded
from ase_deeppot.potential.prediction import Prediction

PAIRS_PER_CHUNK = {"cpu": 32_768, "cuda": 4_194_304}  # at a time
NETS = 8  # times as much memory a pair takes with embedding nets of its own


class TorchEngine:
    """Runs anywhere; takes the atoms in groups of about ``pairs_per_chunk`` pairs."""

    def __init__(self, potential: Folded, device: torch.device, pairs_per_chunk: Optional[int] = None) -> None:
        self.potential, self.device = potential, device
        usual = PAIRS_PER_CHUNK.get(device.type, PAIRS_PER_CHUNK["cpu"])
        self.pairs_per_chunk = pairs_per_chunk or (usual // NETS if isinstance(potential, PairwisePotential) else usual)

    @torch.inference_mode()
    def evaluate(self, types: np.ndarray, pairs: Pairs, centres: Optional[int] = None,
                 parameters: Optional[np.ndarray] = None) -> Prediction:
        """See :class:`engine.Engine`."""
        n_types = len(self.potential.species)
        energies, gradient = np.zeros(len(types)), np.empty_like(pairs.vectors)
        for atoms, rows in _chunks(len(types[:centres]), pairs.i, self.pairs_per_chunk):
            arguments = [types[atoms], pairs.i[rows] - atoms.start, types[pairs.j[rows]], pairs.vectors[rows]]
            if parameters is not None:
                arguments.append(parameters[atoms])
            result = self.potential(*(torch.from_numpy(array).to(self.device) for array in arguments))
            energies[atoms], gradient[rows] = (part.cpu().numpy() for part in result)
        t, i, j, v, g = map(torch.from_numpy, (types, pairs.i, pairs.j, pairs.vectors, gradient))
        kind = t[i] * n_types + t[j]
        closest = torch.full((n_types**2,), torch.inf, dtype=v.dtype)
        closest = closest.scatter_reduce(0, kind, torch.linalg.vector_norm(v, dim=1), "amin").view(n_types, n_types)
        parts = (forces(g, i, j, len(types)), virials(g, v, j, len(types)), closest)
        return Prediction(energies, *(part.numpy() for part in parts))


def _chunks(n_atoms: int, i: np.ndarray, pairs_per_chunk: int) -> Iterator[Tuple[slice, slice]]:
    """All atoms, in groups that are as large as allowed, and the pairs of each group."""
    first = np.searchsorted(i, np.arange(n_atoms + 1))
    start = 0
    while start < n_atoms:
        limit = first[start] + pairs_per_chunk
        stop = max(start + 1, int(np.searchsorted(first, limit, side="right")) - 1)
        yield slice(start, stop), slice(int(first[start]), int(first[stop]))
        start = stop
