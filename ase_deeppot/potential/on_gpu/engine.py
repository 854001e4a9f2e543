"""A model on a GPU, its sums over pairs in kernels, a group of atoms at a time."""

from typing import Any, Optional

import numpy as np
import torch
from torch import Tensor

from ase_deeppot.potential.archive import as_written, script
from ase_deeppot.potential.folded import FoldedPotential
from ase_deeppot.potential.moments import Basis
from ase_deeppot.potential.on_gpu.environments import Environments
from ase_deeppot.potential.on_gpu.forces import add_forces
from ase_deeppot.potential.on_gpu.moments import moments
from ase_deeppot.potential.prediction import Prediction
from ase_deeppot.potential.sums import Sums, zero_sums

ATOMS_PER_GROUP = 32_768  # enough to fill a large GPU; 10 to 50 kB each


class GpuEngine:
    """Runs a folded potential. Forces and virials are added up in no fixed order: they vary by rounding errors."""

    def __init__(self, potential: FoldedPotential, device: torch.device,
                 atoms_per_group: int = ATOMS_PER_GROUP) -> None:
        self.potential, self.device, self.atoms_per_group = potential, device, atoms_per_group
        self.bases = [Basis(*basis) for basis in potential.bases]
        self._scripted = script(potential)  # small structures wait for Python otherwise

    @torch.inference_mode()
    def evaluate(self, types: np.ndarray, pairs: Any, centres: Optional[int] = None,
                 parameters: Optional[np.ndarray] = None) -> Prediction:
        """See :class:`engine.Engine`; takes pairs that are on the device, too."""
        n = len(types) if centres is None else centres
        i, j, vectors = (torch.as_tensor(part, device=self.device) for part in (pairs.i, pairs.j, pairs.vectors))
        species = torch.from_numpy(types).to(self.device)
        given = None if parameters is None else torch.from_numpy(parameters).to(self.device)
        first = torch.searchsorted(i, torch.arange(n + 1, dtype=i.dtype, device=self.device))
        structure = Environments(first, j.int(), species.int(), vectors)
        sums = zero_sums(len(types), len(self.potential.species), self.device)
        for start in range(0, n, self.atoms_per_group):
            group = slice(start, min(n, start + self.atoms_per_group))
            self._evaluate_group(group, species[group], structure, None if given is None else given[group], sums)
        return sums.prediction(species)

    def _evaluate_group(self, group: slice, species: Tensor, structure: Environments, parameters: Optional[Tensor],
                        sums: Sums) -> None:
        """The model from top to bottom: moments, products, fitting net, and back to the forces."""
        own = structure._replace(first=structure.first[group.start : group.stop + 1])
        n_types = len(self.potential.species)
        p, closest = zip(*(moments(basis, n_types, own, self.potential.dtype) for basis in self.bases), strict=True)
        sums.closest[group] = torch.stack(closest).amin(dim=0)
        with as_written():
            energies, k = self._scripted.respond(species, list(p), parameters)  # type: ignore[operator]
        sums.energies[group] = energies
        for basis, of_part in zip(self.bases, k, strict=True):
            add_forces(basis, own, of_part, group.start, sums.forces, sums.virials)
