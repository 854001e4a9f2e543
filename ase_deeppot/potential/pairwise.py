"""Descriptors whose embedding nets are evaluated for every pair: those that no series follows, for their kinks."""

from typing import NamedTuple, Sequence, Tuple

import torch
from torch import Tensor

from ase_deeppot.potential.config import SmoothConfig
from ase_deeppot.potential.derivatives import forces, virials
from ase_deeppot.potential.descriptor import Environment, Neighbors, Structures
from ase_deeppot.potential.embedding_series import Series
from ase_deeppot.potential.moments import moments, pair_gradient
from ase_deeppot.potential.pair_nets import PairNets
from ase_deeppot.potential.radial import RadialDescriptor
from ase_deeppot.potential.smooth import SmoothDescriptor


class PairwiseSums(NamedTuple):
    """Sums over pairs of the functions that the nets give, as ``pair_sums.Radial`` has them of the series'."""

    nets: PairNets

    def shape(self) -> Tuple[int, int, int]:
        """Y, T and 2 M."""
        return (self.nets.basis[5] + 1) ** 2, self.nets.n_types, self.nets.width

    def environment(self, structures: Structures) -> Environment:
        """The moments P [N, Y, T, 2 M]."""
        return self.describe(structures.neighbors())

    def forces_and_virials(self, structures: Structures, environment: Environment, k: Tensor) -> Tuple[Tensor, Tensor]:
        """Forces [N, 3], eV/A, and atomic virials [N, 3, 3], eV, from K = dE/dP."""
        _, i, j, vectors = structures
        gradient, n = self.pair_gradient(structures.neighbors(), environment, k), len(structures.types)
        return forces(gradient, i, j, n), virials(gradient, vectors, j, n)

    def describe(self, neighbors: Neighbors) -> Environment:
        """The moments P [N, Y, T, 2 M]."""
        p = moments(self.nets(*neighbors))
        return Environment(p, torch.empty(len(p), 0, dtype=torch.int32, device=p.device))

    def pair_gradient(self, neighbors: Neighbors, environment: Environment, k: Tensor) -> Tensor:
        """dE/dv of each pair, [E, 3] float64, eV/A, from K = dE/dP."""
        return pair_gradient(self.nets(*neighbors), k, len(neighbors.i))


class PairwiseDescriptor(SmoothDescriptor):
    """DeepPot-SE's, of order 0: with no series."""

    def pair_nets(self, dtype: torch.dtype) -> PairNets:
        """The nets as they run, with results in this precision."""
        return PairNets(self.embedding, self.davg, self.dstd[:, 0], self.basis(), dtype)

    def geometry(self) -> PairwiseSums:
        """The sums over pairs, with the nets as they are now: constants for whoever differentiates."""
        return PairwiseSums(self.pair_nets(self.dtype))

    def series(self) -> Series:
        """What stands for it: how ``G^T R`` is made of the functions of ``pair_nets``."""
        g0 = self.embedded(self.davg.new_empty(0))[1]
        unit = torch.eye(g0.shape[-1], dtype=g0.dtype, device=g0.device)
        first, second = torch.cat([unit, 0.0 * unit]), torch.cat([0.0 * unit, unit])
        shape = (self.n_types, self.n_types, -1, -1)
        return self.read(self.assembled(first.expand(shape), second.expand(shape), g0), torch.eye(len(first)).to(g0))


class PairwiseRadialDescriptor(PairwiseDescriptor, RadialDescriptor):
    """The radial one of order 0."""


def smooth_descriptor(config: SmoothConfig, rcut: float, type_map: Sequence[str],
                      dtype: torch.dtype) -> SmoothDescriptor:
    """DeepPot-SE's or the radial one, with a series for the embedding nets or without."""
    radial = config.kind == "radial"
    if config.order == 0:
        return (PairwiseRadialDescriptor if radial else PairwiseDescriptor)(config, rcut, type_map, dtype)
    return (RadialDescriptor if radial else SmoothDescriptor)(config, rcut, type_map, dtype)
