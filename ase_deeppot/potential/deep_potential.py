"""The Deep Potential, read top to bottom: environment, descriptor, fitting net, energy, derivative."""

from typing import Tuple

import torch
from torch import Tensor, nn

from ase_deeppot.potential.config import ModelConfig
from ase_deeppot.potential.fitting_net import FittingNet
from ase_deeppot.potential.smooth import SmoothDescriptor


class DeepPotential(nn.Module):
    """``E = sum_i E_i``, each E_i a function of the vectors from atom i to its neighbours.

    Knows pairs only: no cell, no periodicity, no forces. ``potential.derivatives`` turns the gradient with
    respect to the pair vectors into forces and virials.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dtype = torch.float64 if config.precision == "float64" else torch.float32
        n_types = len(config.type_map)
        self.descriptor = SmoothDescriptor(config.descriptor, config.rcut, n_types, dtype)
        self.fitting_net = FittingNet(config.fitting_net, self.descriptor.width, n_types, dtype)

    def forward(self, types: Tensor, i: Tensor, types_j: Tensor, vectors: Tensor) -> Tuple[Tensor, Tensor]:
        """Atomic energies and their derivative.

        Parameters
        ----------
        types : Tensor, [N] int64
            Species of the centres, indices into the model's type map.
        i : Tensor, [E] int64
            Centre of each pair, ascending.
        types_j : Tensor, [E] int64
            Species of the neighbour in each pair.
        vectors : Tensor, [E, 3] float64
            From the centre to the neighbour, A. Pairs beyond the cutoff are allowed and contribute nothing.

        Returns
        -------
        energies : Tensor, [N] float64
            E_i, eV.
        gradient : Tensor, [E, 3] float64
            dE/dvectors, eV/A; differentiable itself in training mode.
        """
        if bool((i[1:] < i[:-1]).any()):
            raise ValueError("expected pairs in ascending order of their centre, got them unsorted")
        vectors = vectors.detach().requires_grad_(True)
        energies = self.atomic_energies(types, i, types_j, vectors)
        gradient = torch.autograd.grad([energies.sum()], [vectors], create_graph=self.training)[0]
        assert gradient is not None  # tells TorchScript that the Optional is filled
        return energies, gradient

    def atomic_energies(self, types: Tensor, i: Tensor, types_j: Tensor, vectors: Tensor) -> Tensor:
        """Energies E_i, [N] float64, eV."""
        return self.fitting_net(types, self.descriptor(types, i, types_j, vectors))
