"""The Deep Potential, read top to bottom: environment, descriptor, fitting net, energy, derivative."""

from typing import Optional, Tuple, Union

import torch
from torch import Tensor, nn

from ase_deeppot.compiler import compilable
from ase_deeppot.potential.config import HybridConfig, LocalFrameConfig, ModelConfig
from ase_deeppot.potential.descriptor import Neighbors
from ase_deeppot.potential.fitting_net import FittingNet
from ase_deeppot.potential.hybrid import HybridDescriptor
from ase_deeppot.potential.local_frame import LocalFrameDescriptor
from ase_deeppot.potential.pairwise import smooth_descriptor
from ase_deeppot.potential.parameters import normalised
from ase_deeppot.potential.smooth import SmoothDescriptor

Descriptor = Union[SmoothDescriptor, LocalFrameDescriptor, HybridDescriptor]


class DeepPotential(nn.Module):
    """``E = sum_i E_i``, each E_i a function of the vectors from atom i to its neighbours.

    Knows pairs only: no cell, no periodicity, no forces. ``potential.derivatives`` turns the gradient with
    respect to the pair vectors into forces and virials.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dtype = torch.float64 if config.precision == "float64" else torch.float32
        n_types = len(config.type_map)
        self.descriptor = _descriptor(config, dtype)
        self.fitting_net = FittingNet(config.fitting_net, self.descriptor.width, n_types, dtype)

    def forward(self, types: Tensor, i: Tensor, types_j: Tensor, vectors: Tensor,
                parameters: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:
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
        parameters : Tensor, [N, k] float64, optional
            Of the frame and then of the atom, for a model that takes them.

        Returns
        -------
        energies : Tensor, [N] float64
            E_i, eV.
        gradient : Tensor, [E, 3] float64
            dE/dvectors, eV/A; differentiable itself in training mode.
        """
        if bool((i[1:] < i[:-1]).any()):
            raise ValueError("expected pairs in ascending order of their centre, got them unsorted")
        geometry, neighbors = self.descriptor.geometry(), Neighbors(types, i, types_j, vectors.detach())
        environment = geometry.describe(neighbors)
        energies, k = self.respond(types, environment.features, parameters)
        return energies, geometry.pair_gradient(neighbors, environment, k)

    def respond(self, types: Tensor, features: Tensor, parameters: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:
        """Atomic energies, [N] float64, eV, and K = dE/dfeatures, from the features [N, ...] of the environments."""
        extra = normalised(parameters, *self.fitting_net.normalisation(), len(types), self.descriptor.dtype)
        nets = compilable() and not self.fitting_net.polynomial
        if nets and isinstance(self.descriptor, SmoothDescriptor) and types.device.type == "cpu":
            energies, k = self.descriptor.respond_together(self.fitting_net, types, features, extra)
            return energies.to(torch.float64) + self.fitting_net.energy_bias[types], k
        order = torch.argsort(types, stable=True)
        sizes = torch.bincount(types, minlength=self.descriptor.n_types).tolist()
        energies = torch.zeros(len(types), dtype=torch.float64, device=types.device)
        k = torch.zeros_like(features)
        respond = self.descriptor.responses(self.fitting_net)
        for t, mine in enumerate(torch.split(order, sizes)):
            if len(mine) == 0:
                continue
            e_t, k_t = respond(t, features[mine], None if extra is None else extra[mine])
            energies = energies.index_copy(0, mine, e_t.to(torch.float64) + self.fitting_net.energy_bias[t])
            k = k.index_copy(0, mine, k_t)
        return energies, k


def _descriptor(config: ModelConfig, dtype: torch.dtype) -> Descriptor:
    if isinstance(config.descriptor, LocalFrameConfig):
        return LocalFrameDescriptor(config.descriptor, config.rcut, config.type_map, dtype)
    if isinstance(config.descriptor, HybridConfig):
        return HybridDescriptor(config.descriptor, config.type_map, dtype)
    return smooth_descriptor(config.descriptor, config.rcut, config.type_map, dtype)
