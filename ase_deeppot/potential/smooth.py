"""The DeepPot-SE descriptor (Zhang et al., NeurIPS 2018): smooth, and invariant by construction."""

from typing import Callable, List, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from ase_deeppot.potential import response
from ase_deeppot.potential.chebyshev import nodes, transform
from ase_deeppot.potential.config import SmoothConfig
from ase_deeppot.potential.fitting_net import FittingNet
from ase_deeppot.potential.moments import Basis
from ase_deeppot.potential.networks import ParallelNets
from ase_deeppot.potential.pair_sums import Radial


class SmoothDescriptor(nn.Module):
    """``D_i = (G^T R)(R^T G_<) / sum(sel)^2`` from the environment matrix R and the embedding G(s).

    The rows of R are shifted and scaled by ``davg``, ``dstd`` of the centre's species. In the reference
    definition the ``sel`` slots left empty are shifted too, and add ``G(s0) s0`` each, ``s0 = -davg/dstd``.
    Here every neighbour adds ``G(s) s - G(s0) s0``, which vanishes at the cutoff, and the ``sel`` slots
    together add the constant ``sel G(s0) s0``: the same function, with no slots to fill and none to run out of.
    """

    s_max: Tensor  # [], 1/A, upper end of the series' range
    nodes: Tensor  # [L]
    transform: Tensor  # [L, L]
    davg: Tensor  # [T], 1/A, mean of s(r)
    dstd: Tensor  # [T, 2], 1/A, spread of s(r) and of s(r) (x, y, z)/r
    sel: Tensor  # [T], neighbours of each species in a full environment
    sees: Tensor  # [T, T, 1, 1], 0 where a centre of one species does not see neighbours of another, else 1

    def __init__(self, config: SmoothConfig, rcut: float, type_map: Sequence[str], dtype: torch.dtype) -> None:
        super().__init__()
        n_types = len(type_map)
        self.rcut = rcut
        self.rcut_smth = config.rcut_smth
        self.n_types = n_types
        self.axis_neuron = config.axis_neuron
        self.type_one_side = config.type_one_side
        self.dtype = dtype
        self.n_nets = n_types if config.type_one_side else n_types * n_types
        widths = (1, *config.neuron)
        self.embedding = ParallelNets(self.n_nets, widths, config.activation, config.resnet_dt, dtype)
        self.width = config.neuron[-1] * config.axis_neuron
        self.order = config.order
        self.register_buffer("s_max", torch.ones((), dtype=torch.float64))
        self.register_buffer("nodes", nodes(self.order))
        self.register_buffer("transform", transform(self.order))
        self.register_buffer("davg", torch.zeros(n_types, dtype=torch.float64))
        self.register_buffer("dstd", torch.ones(n_types, 2, dtype=torch.float64))
        self.register_buffer("sel", torch.ones(n_types, dtype=torch.float64))
        self.register_buffer("sees", _sees(type_map, config.exclude_types), persistent=False)

    @property
    def reach(self) -> float:
        """Distance down to which the series holds, A."""
        return 1.0 / float(self.s_max)

    def basis(self) -> Basis:
        """The radial functions whose moments this descriptor is made of."""
        return Basis(self.order, float(self.s_max), self.rcut_smth, self.rcut)

    def geometry(self) -> Radial:
        """What depends on the structure alone: the sums over pairs."""
        return Radial(self.basis(), self.n_types, self.dtype)

    def responses(self, net: FittingNet) -> Callable[[int, Tensor, Optional[Tensor]], Tuple[Tensor, Tensor]]:
        """Function of a species, its moments P and extra inputs: energies [n], dE/dP, differentiable in weights."""
        radial, angular, constant = self.series()
        scale = float(net.scale)
        slots = float(self.sel.sum()) * scale**0.5  # D is quadratic in what is divided by them

        def respond(t: int, p: Tensor, extra: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:
            mean = (net.mean[t] / scale).to(p.dtype)
            series = radial[t], angular[t], constant[t]
            return response.respond(p, series, mean, *net.parts(t), self.axis_neuron, slots, extra)

        return respond

    def series(self) -> Tuple[Tensor, Tensor, Tensor]:
        """The embedding as Chebyshev series in s, for every pair of species.

        Returns
        -------
        radial, angular : Tensor, [T, T * L, M]
            Coefficients that turn the moments of a centre (first index its species) into ``G^T R``.
        constant : Tensor, [T, M]
            What the ``sel`` slots add to the radial row.
        """
        radial, angular, slot = self.curves(0.5 * self.s_max * (self.nodes + 1.0))
        shape = (self.n_types, self.n_types * self.order, -1)
        radial, angular = (torch.matmul(self.transform, part).reshape(shape) for part in (radial, angular))
        constant = (slot * self.sel[None, :, None]).sum(1)
        return radial.to(self.dtype), angular.to(self.dtype), constant.to(self.dtype)

    def curves(self, s: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """What a neighbour of weight s(r) adds to the rows of ``G^T R``, divided by s (1, u).

        Parameters
        ----------
        s : Tensor, [n] float64
            Positive, 1/A.

        Returns
        -------
        radial, angular : Tensor, [T, T, n, M] float64
            By species of the centre, and of the neighbour.
        slot : Tensor, [T, T, M] float64
            ``G(s0) s0``, what an empty slot adds to the radial row.
        """
        g, g0 = self.embedded(s)
        spread, s0 = self.dstd[:, None, None, None], (-self.davg / self.dstd[:, 0])[:, None, None, None]
        radial = g / spread[..., 0] + (g - g0) * s0 / s[:, None]
        return radial * self.sees, g / spread[..., 1] * self.sees, (g0 * s0)[:, :, 0]

    def embedded(self, s: Tensor) -> Tuple[Tensor, Tensor]:
        """G of neighbours of weight s(r), [T, T, n, M], and of empty slots, [T, T, 1, M], by centre and neighbour."""
        n_types, n = self.n_types, s.shape[0]
        every = torch.arange(n_types, device=self.davg.device)
        slow, fast = every.repeat_interleave(n_types), every.repeat(n_types)
        centre, neighbor = (fast, slow) if self.type_one_side else (slow, fast)  # the order of the nets
        spread = self.dstd[centre]  # [T * T, 2]
        s0 = -self.davg[centre] / spread[:, 0]  # [T * T]
        points = torch.cat([s / spread[:, :1] + s0[:, None], s0[:, None]], dim=1)  # [T * T, n + 1]
        g = self.embedding(points.to(self.dtype).view(self.n_nets, -1, 1))
        g = g.view(n_types * n_types, n + 1, -1).to(torch.float64)
        g = torch.zeros_like(g).index_copy(0, centre * n_types + neighbor, g).view(n_types, n_types, n + 1, -1)
        return g[:, :, :n], g[:, :, n:]

    def forward(self, p: List[Tensor]) -> List[Tensor]:
        """Descriptors [n_t, M * axis_neuron] of the centres of each species t, from their moments [n_t, 4, T, L]."""
        radial, angular, constant = self.series()
        slots = self.sel.sum().to(self.dtype)
        result: List[Tensor] = []
        for t, moments in enumerate(p):
            rows = moments.flatten(2)  # [n_t, 4, T * L]
            scalar = torch.addmm(constant[t], rows[:, 0], radial[t])
            vector = torch.matmul(rows[:, 1:].reshape(-1, radial.shape[1]), angular[t])
            gr = torch.cat([scalar[:, None], vector.view(-1, 3, radial.shape[2])], dim=1) / slots  # [n_t, 4, M]
            result.append(torch.bmm(gr.transpose(1, 2), gr[:, :, : self.axis_neuron]).flatten(1))
        return result


def _sees(type_map: Sequence[str], exclude_types: Sequence[Tuple[str, str]]) -> Tensor:
    excluded = {pair for one, other in exclude_types for pair in ((one, other), (other, one))}
    rows = [[float((c, t) not in excluded) for t in type_map] for c in type_map]
    return torch.tensor(rows, dtype=torch.float64)[:, :, None, None]
