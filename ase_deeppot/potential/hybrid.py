"""The hybrid descriptor: several DeepPot-SE or radial ones side by side, each with its own cutoff and nets."""

from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple, Union, cast

import torch
from torch import Tensor, nn

from ase_deeppot.potential import net_response, response
from ase_deeppot.potential.config import HybridConfig
from ase_deeppot.potential.descriptor import Environment, Neighbors, Structures, Sums
from ase_deeppot.potential.fitting_net import FittingNet
from ase_deeppot.potential.pairwise import smooth_descriptor
from ase_deeppot.potential.smooth import SmoothDescriptor


class HybridGeometry(NamedTuple):
    """Those of the parts, over the same pairs: a ``descriptor.Geometry``.

    Features [N, F] are the moments of the parts, flattened and one after the other. Pairs beyond the cutoff of a part
    have no weight in its sums.
    """

    parts: Tuple[Sums, ...]

    def environment(self, structures: Structures) -> Environment:
        """The moments of all parts."""
        return _beside([part.environment(structures) for part in self.parts])

    def forces_and_virials(self, structures: Structures, environment: Environment, k: Tensor) -> Tuple[Tensor, Tensor]:
        """Forces [N, 3], eV/A, and atomic virials [N, 3, 3], eV, from K = dE/dfeatures; differentiable in K."""
        found = [part.forces_and_virials(structures, environment, k_part)
                 for part, k_part in zip(self.parts, self.split(k), strict=True)]
        forces, virials = zip(*found, strict=True)
        return torch.stack(forces).sum(0), torch.stack(virials).sum(0)

    def describe(self, neighbors: Neighbors) -> Environment:
        """The moments of all parts."""
        return _beside([part.describe(neighbors) for part in self.parts])

    def pair_gradient(self, neighbors: Neighbors, environment: Environment, k: Tensor) -> Tensor:
        """dE/dv of each pair, [E, 3] float64, eV/A, from K = dE/dfeatures; differentiable in K."""
        gradients = [part.pair_gradient(neighbors, environment, k_part)
                     for part, k_part in zip(self.parts, self.split(k), strict=True)]
        return torch.stack(gradients).sum(0)

    def split(self, features: Tensor) -> List[Tensor]:
        """From features [n, F] to those of each part, [n, Y, T, L]."""
        shapes = [part.shape() for part in self.parts]
        columns = features.split([y * t * order for y, t, order in shapes], dim=1)
        return [column.unflatten(1, shape) for column, shape in zip(columns, shapes, strict=True)]


class HybridDescriptor(nn.Module):
    """``D_i``: the descriptors of the parts, one after the other."""

    def __init__(self, config: HybridConfig, type_map: Sequence[str], dtype: torch.dtype) -> None:
        super().__init__()
        self.parts = nn.ModuleList(smooth_descriptor(part, part.rcut, type_map, dtype) for part in config.parts)
        self.n_types, self.dtype = len(type_map), dtype
        self.width = sum(part.width for part in smooth_parts(self))

    @property
    def reach(self) -> float:
        """Distance down to which the series of all parts hold, A."""
        return max(part.reach for part in smooth_parts(self))

    def geometry(self) -> HybridGeometry:
        """What depends on the structure alone: the sums over pairs, part by part."""
        return HybridGeometry(tuple(part.geometry() for part in smooth_parts(self)))

    def responses(self, net: FittingNet) -> Callable[[int, Tensor, Optional[Tensor]], Tuple[Tensor, Tensor]]:
        """Function of a species, its features and extra inputs: energies [n], dE/dfeatures; differentiable in weights.

        Up to the descriptor and back by automatic differentiation, over the fitting net by hand.
        """
        split, parts, scale = self.geometry().split, smooth_parts(self), float(net.scale)
        series = [part.series() for part in parts]
        slots = [float(part.sel.sum()) * scale**0.5 for part in parts]

        def respond(t: int, features: Tensor, extra: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:
            own = [one.of(t) for one in series]
            a = [response.environment(p.flatten(2), *its) for p, *its in zip(split(features), own, slots, strict=True)]
            products = [response.products(rows, part.axes, part.coupled()) for rows, part in zip(a, parts, strict=True)]
            d = torch.cat(products, dim=1) - (net.mean[t] / scale).to(self.dtype)
            energies, g = net_response.respond(d if extra is None else torch.cat([d, extra], dim=1), *net.parts(t))
            g_parts = g[:, : self.width].split([part.width for part in parts], dim=1)
            k = [response.backward(rows, g_part, part.axes, part.coupled(), *its)
                 for rows, g_part, part, *its in zip(a, g_parts, parts, own, slots, strict=True)]
            return energies, torch.cat([k_part.flatten(1) for k_part in k], dim=1)

        return respond

    def forward(self, features: List[Tensor]) -> List[Tensor]:
        """Descriptors [n_t, width] of the centres of each species t, from their features [n_t, F]."""
        by_part = zip(*(self.geometry().split(of_species) for of_species in features), strict=True)
        found = [part(list(moments)) for part, moments in zip(smooth_parts(self), by_part, strict=True)]
        return [torch.cat(of_species, dim=1) for of_species in zip(*found, strict=True)]


def smooth_parts(descriptor: Union[SmoothDescriptor, HybridDescriptor]) -> List[SmoothDescriptor]:
    """The parts of a hybrid descriptor; any other is its own only one."""
    if isinstance(descriptor, SmoothDescriptor):
        return [descriptor]
    return cast(List[SmoothDescriptor], list(descriptor.parts))


def _beside(environments: List[Environment]) -> Environment:
    features = torch.cat([environment.features.flatten(1) for environment in environments], dim=1)
    return Environment(features, environments[0].order)
