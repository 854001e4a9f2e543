"""A model in torch alone: any device, atoms in groups that bound the memory."""

from typing import Any, Iterator, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from ase_deeppot.potential.folded_pairwise import PairwisePotential
from ase_deeppot.potential.folding import Folded
from ase_deeppot.potential.prediction import Prediction
from ase_deeppot.potential.sums import Sums, prediction, zero_sums

PAIRS_PER_CHUNK = {"cpu": 32_768, "cuda": 4_194_304}  # at a time
NETS = 8  # times as much memory a pair takes with embedding nets of its own


class TorchEngine:
    """Runs anywhere; takes the atoms in groups of about ``pairs_per_chunk`` pairs."""

    def __init__(self, potential: Folded, device: torch.device, pairs_per_chunk: Optional[int] = None) -> None:
        self.potential, self.device = potential, device
        usual = PAIRS_PER_CHUNK.get(device.type, PAIRS_PER_CHUNK["cpu"])
        self.pairs_per_chunk = pairs_per_chunk or (usual // NETS if isinstance(potential, PairwisePotential) else usual)

    @torch.inference_mode()
    def evaluate(self, types: np.ndarray, pairs: Any, centres: Optional[int] = None,
                 parameters: Optional[np.ndarray] = None) -> Prediction:
        """See :class:`engine.Engine`; takes pairs that are on the device, too."""
        n, n_types = len(types), len(self.potential.species)
        i, j, vectors = (torch.as_tensor(part, device=self.device) for part in (pairs.i, pairs.j, pairs.vectors))
        species = torch.from_numpy(types).to(self.device)
        given = None if parameters is None else torch.from_numpy(parameters).to(self.device)
        sums = zero_sums(n, n_types, self.device)
        first = torch.searchsorted(i, torch.arange(n + 1, dtype=i.dtype, device=self.device)).cpu().numpy()
        for atoms, rows in _chunks(first[: None if centres is None else centres + 1], self.pairs_per_chunk):
            part = i[rows].long(), j[rows].long(), vectors[rows]
            self._add(atoms, species, part, None if given is None else given[atoms], sums)
        return prediction(sums.flat([(species == t).nonzero()[:, 0] for t in range(n_types)]), n, n_types)

    def _add(self, atoms: slice, species: Tensor, pairs: Tuple[Tensor, Tensor, Tensor], parameters: Optional[Tensor],
             sums: Sums) -> None:
        """What some atoms, and the pairs that start from them, contribute."""
        i, j, vectors = pairs
        arguments = [species[atoms], i - atoms.start, species[j], vectors]
        energies, gradient = self.potential(*arguments, *([] if parameters is None else [parameters]))
        sums.energies[atoms] = energies
        sums.add_gradient(gradient, i, j, vectors)
        places = i * sums.closest.shape[1] + species[j]
        sums.closest.view(-1).scatter_reduce_(0, places, torch.linalg.vector_norm(vectors, dim=1), "amin")


def _chunks(first: np.ndarray, pairs_per_chunk: int) -> Iterator[Tuple[slice, slice]]:
    """All atoms, in groups that are as large as allowed, and the pairs of each; ``first`` pair of each atom [n + 1]."""
    start = 0
    while start < len(first) - 1:
        limit = first[start] + pairs_per_chunk
        stop = max(start + 1, int(np.searchsorted(first, limit, side="right")) - 1)
        yield slice(start, stop), slice(int(first[start]), int(first[stop]))
        start = stop
