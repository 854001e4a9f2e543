"""The DPMD descriptor (Zhang et al., PRL 120, 143001, 2018): sorted neighbours in a local frame, a sharp cutoff."""

from functools import lru_cache
from typing import Any, Callable, NamedTuple, Optional, Tuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ase_deeppot.errors import ConfigError
from ase_deeppot.potential import net_response
from ase_deeppot.potential.config import LocalFrameConfig
from ase_deeppot.potential.derivatives import forces, virials
from ase_deeppot.potential.descriptor import Environment, Neighbors, Structures
from ase_deeppot.potential.fitting_net import FittingNet
from ase_deeppot.potential.frames import change, describe, frames, gradient
from ase_deeppot.potential.neighbor_counts import neighbor_counts
from ase_deeppot.potential.slots import Slots, arrange

NEAREST = ((-1, 0), (-1, 0))  # axis rule: the two nearest neighbours, whatever they are


class LocalFrames(NamedTuple):
    """What of the descriptor depends on the structure alone: a ``descriptor.Geometry``, with D as the features."""

    rcut: float  # A
    sel_a: Tuple[int, ...]  # [T], slots with all coordinates
    sel_r: Tuple[int, ...]  # [T], slots with 1/R only
    axes: Tuple[Tuple[Tuple[int, int], Tuple[int, int]], ...]  # [T], species and rank of both axis atoms

    @property
    def width(self) -> int:
        """Components of D."""
        return 4 * sum(self.sel_a) + sum(self.sel_r)

    def left_out(self, types: np.ndarray, pairs: Any) -> int:
        """How many neighbours have no slot, of pairs within the cutoff."""
        counts = neighbor_counts(types, pairs, len(self.sel_a))
        return int(np.maximum(counts - np.add(self.sel_a, self.sel_r), 0).sum())

    def environment(self, structures: Structures) -> Environment:
        """D, [N, K] float64, 1/A, before normalisation, and which neighbour is in which slot."""
        return self.describe(structures.neighbors())

    def describe(self, neighbors: Neighbors) -> Environment:
        """As ``environment``."""
        types, i, types_j, vectors = neighbors
        slots = slots_of(self, str(vectors.device))
        order = arrange(slots, types, i, types_j, vectors)
        return Environment(describe(frames(order, slots.full, i, vectors)), order)

    def pair_gradient(self, neighbors: Neighbors, environment: Environment, k: Tensor) -> Tensor:
        """dE/dv of each pair, [E, 3] float64, eV/A, from K = dE/dD; differentiable in K."""
        placed = frames(environment.order, sum(self.sel_a), neighbors.i, neighbors.vectors)
        return gradient(placed, k, len(neighbors.i))

    def forces_and_virials(self, structures: Structures, environment: Environment, k: Tensor) -> Tuple[Tensor, Tensor]:
        """Forces [N, 3], eV/A, and atomic virials [N, 3, 3], eV, from K = dE/dD; differentiable in K."""
        result: Tuple[Tensor, Tensor] = _ForcesAndVirials.apply(k, self, structures, environment.order)
        return result


class _ForcesAndVirials(torch.autograd.Function):
    """Linear in K; its transpose is the change of D when pair vectors change by what weighs on their gradients."""

    @staticmethod
    def forward(ctx: Any, k: Tensor, geometry: LocalFrames, structures: Structures,
                order: Tensor) -> Tuple[Tensor, Tensor]:
        types, i, j, vectors = structures
        placed = frames(order, sum(geometry.sel_a), i, vectors)
        ctx.kept = placed, structures
        g = gradient(placed, k, len(i))
        return forces(g, i, j, len(types)), virials(g, vectors, j, len(types))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tuple[Tensor, None, None, None]:
        placed, (_, i, j, vectors) = ctx.kept
        f_bar, v_bar = grads
        g_bar = f_bar[i] - f_bar[j] - torch.bmm(vectors.unsqueeze(1), v_bar[j]).squeeze(1)
        return change(placed, g_bar), None, None, None


@lru_cache(maxsize=16)
def slots_of(geometry: LocalFrames, device: str = "cpu") -> Slots:
    """The slots as tensors: those with all coordinates by species, then the others by species."""
    species = [t for sel in (geometry.sel_a, geometry.sel_r) for t, n in enumerate(sel) for _ in range(n)]
    ranks = [rank for t, n in enumerate(geometry.sel_a) for rank in range(n)]
    ranks += [n + rank for n, more in zip(geometry.sel_a, geometry.sel_r, strict=True) for rank in range(more)]
    tensors = (torch.tensor(values, dtype=torch.int64, device=device) for values in (species, ranks, geometry.axes))
    return Slots(geometry.rcut, sum(geometry.sel_a), *tensors)


class LocalFrameDescriptor(nn.Module):
    """``D_i`` from the neighbours of atom i, sorted by species and then by distance, in the local frame of i.

    Each component is shifted and scaled by its mean and spread over the training set, for each species of centres. An
    empty slot is zero before that, as in the reference implementation. The farthest of more neighbours than a
    species has slots are left out.
    """

    davg: Tensor  # [T, K], 1/A, mean of D
    dstd: Tensor  # [T, K], 1/A, its spread

    def __init__(self, config: LocalFrameConfig, rcut: float, type_map: Tuple[str, ...], dtype: torch.dtype) -> None:
        super().__init__()
        self.frames = _local_frames(config, rcut, type_map)
        self.n_types, self.dtype = len(type_map), dtype
        self.width = self.frames.width
        self.reach = 0.0  # A; no series that would end
        self.register_buffer("davg", torch.zeros(self.n_types, self.width, dtype=torch.float64))
        self.register_buffer("dstd", torch.ones(self.n_types, self.width, dtype=torch.float64))

    def geometry(self) -> LocalFrames:
        """What depends on the structure alone: neighbours in their slots, and frames."""
        return self.frames

    def normalised(self, t: int, d: Tensor) -> Tensor:
        """What the net of species t sees, [n, K], from D [n, K]."""
        return ((d - self.davg[t]) / self.dstd[t]).to(self.dtype)

    def responses(self, net: FittingNet) -> Callable[[int, Tensor, Optional[Tensor]], Tuple[Tensor, Tensor]]:
        """Function of a species and its D [n, K]: energies [n] and dE/dD [n, K] float64, differentiable in weights.

        D is normalised here, by component, so that the net's own mean and scale stay 0 and 1.
        """
        def respond(t: int, d: Tensor, extra: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:  # no parameters
            energies, g = net_response.respond(self.normalised(t, d), *net.parts(t))
            return energies, g.to(torch.float64) / self.dstd[t]

        return respond


def _local_frames(config: LocalFrameConfig, rcut: float, type_map: Tuple[str, ...]) -> LocalFrames:
    missing = [name for name in ("sel_a", "sel_r") if set(getattr(config, name)) != set(type_map)]
    if missing:
        raise ConfigError(f"expected descriptor.{missing[0]} with an entry for each of {', '.join(type_map)}, got "
                          f"{dict(getattr(config, missing[0]))}; training counts them where none are given")
    sel_a, sel_r = (tuple(sel[element] for element in type_map) for sel in (config.sel_a, config.sel_r))
    axes = []
    for element in type_map:
        rule = config.axis_rule.get(element)
        axes.append(NEAREST if rule is None else tuple((type_map.index(name), rank) for name, rank in rule))
    return LocalFrames(rcut, sel_a, sel_r, tuple(axes))  # type: ignore[arg-type]
