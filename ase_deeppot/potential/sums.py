"""What an engine in torch finds out about a structure, where the model runs, and how it is handed over."""

from typing import List, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ase_deeppot.potential.prediction import Prediction


class Sums(NamedTuple):
    """As `Prediction`, on a device."""

    energies: Tensor  # [N] float64, eV
    forces: Tensor  # [N, 3] float64, eV/A
    virials: Tensor  # [N, 3, 3] float64, eV
    closest: Tensor  # [N, T] float64, A, the closest neighbour of each species; inf without any

    def add_gradient(self, gradient: Tensor, i: Tensor, j: Tensor, vectors: Tensor) -> None:
        """Add what some pairs [E] do, from dE/dv [E, 3]; as `derivatives.forces` and `.virials`, in place."""
        self.forces.index_add_(0, i, gradient).index_add_(0, j, gradient, alpha=-1.0)
        works = (vectors[:, :, None] * gradient[:, None, :]).flatten(1)
        self.virials.view(-1, 9).index_add_(0, j, works, alpha=-1.0)

    def flat(self, atoms: List[Tensor]) -> Tensor:
        """All that a prediction is made of, for one copy to the host, of ``atoms`` [T][n_t] of each species."""
        infinite = self.closest.new_full((1, len(atoms)), torch.inf)
        # Row by row: atoms that all write to few places would wait for each other.
        rows = [torch.cat([infinite, self.closest.index_select(0, mine)]).amin(dim=0) for mine in atoms]
        return torch.cat([part.flatten() for part in (*self[:3], *rows)])


def prediction(flat: Tensor, n_atoms: int, n_types: int) -> Prediction:
    """On the host, from `Sums.flat`."""
    shapes = (n_atoms,), (n_atoms, 3), (n_atoms, 3, 3), (n_types, n_types)
    ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes])
    parts = np.split(flat.cpu().numpy(), ends[:-1])
    return Prediction(*(part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)))


def zero_sums(n_atoms: int, n_types: int, device: torch.device) -> Sums:
    """Of which the sums begin."""
    energies, forces, virials = (torch.zeros(n_atoms, *more, dtype=torch.float64, device=device)
                                 for more in ((), (3,), (3, 3)))
    return Sums(energies, forces, virials, torch.full((n_atoms, n_types), torch.inf, dtype=torch.float64,
                                                      device=device))
