"""DeepPot-SE's descriptor (Zhang et al., NeurIPS 2018) and higher angular orders: smooth, invariant by construction."""

from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple, cast

import torch
from torch import Tensor, nn

from ase_deeppot.potential import net_response, response
from ase_deeppot.potential.bispectrum import Coupling, bispectrum, couplings
from ase_deeppot.potential.chebyshev import nodes, transform
from ase_deeppot.potential.config import SmoothConfig
from ase_deeppot.potential.descriptor import Sums
from ase_deeppot.potential.embedding_series import Series
from ase_deeppot.potential.fitting_net import FittingNet
from ase_deeppot.potential.moments import Basis
from ase_deeppot.potential.networks import ParallelNets
from ase_deeppot.potential.pair_sums import Radial


class Curves(NamedTuple):
    """What a neighbour adds to the rows of ``G^T R``, divided by s Y_a; float64, by species of centre and neighbour."""

    radial: Tensor  # [T, T, n, M]
    angular: Tensor  # [T, T, n, M]
    higher: Tuple[Tensor, ...]  # [T, T, n, M_l] each
    slot: Tensor  # [T, T, M], ``G(s0) s0``, what an empty slot adds to the radial row


class SmoothDescriptor(nn.Module):
    """``D_i = (G^T R)(R^T G_<) / sum(sel)^2`` from the environment matrix R and the embedding G(s).

    The rows of R are shifted and scaled by ``davg``, ``dstd`` of the centre's species. In the reference
    definition the ``sel`` slots left empty are shifted too, and add ``G(s0) s0`` each, ``s0 = -davg/dstd``.
    Here every neighbour adds ``G(s) s - G(s0) s0``, which vanishes at the cutoff, and the ``sel`` slots
    together add the constant ``sel G(s0) s0``: the same function, with no slots to fill and none to run out of.

    R holds the directions of the neighbours to order 0 and 1, ``s (1, u)``. With ``l_max`` above 1, each further order
    l adds ``(G^T R_l)(R_l^T G_<) / sum(sel)^2`` from the real harmonics, ``R_l = s Y_lm(u)``, and the first columns of
    the same embedding. Rotations turn the 2 l + 1 components into each other, and leave these products as they are.
    Their bispectrum may follow (``bispectrum``), divided by ``root``.
    """

    s_max: Tensor  # [], 1/A, upper end of the series' range
    nodes: Tensor  # [L]
    transform: Tensor  # [L, L]
    davg: Tensor  # [T], 1/A, mean of s(r)
    dstd: Tensor  # [T, 2], 1/A, spread of s(r) and of s(r) (x, y, z)/r
    sel: Tensor  # [T], neighbours of each species in a full environment
    root: Tensor  # [] float64, root of the scale of the fitting nets' input, of which products are of second order
    sees: Tensor  # [T, T, 1, 1], 0 where a centre of one species does not see neighbours of another, else 1

    def __init__(self, config: SmoothConfig, rcut: float, type_map: Sequence[str], dtype: torch.dtype) -> None:
        super().__init__()
        n_types = len(type_map)
        self.rcut = rcut
        self.rcut_smth = config.rcut_smth
        self.n_types = n_types
        self.type_one_side = config.type_one_side
        self.dtype = dtype
        self.n_nets = n_types if config.type_one_side else n_types * n_types
        widths = (1, *config.neuron)
        self.embedding = ParallelNets(self.n_nets, widths, config.activation, config.resnet_dt, dtype)
        self.order, self.l_max = config.order, config.l_max
        self.columns, self.axes = config.columns, config.axes
        self.bispectrum_neuron = config.bispectrum_neuron
        self.couplings = nn.ModuleList(couplings(self.l_max, config.bispectrum_neuron, dtype))
        self.products = sum(width * axis for width, axis in zip(self.columns, self.axes, strict=True))
        self.width = self.products + sum(len(one.places) for one in self.coupled())
        if len(self.couplings):
            self.register_buffer("root", torch.ones((), dtype=torch.float64))
        self.register_buffer("s_max", torch.ones((), dtype=torch.float64))
        self.register_buffer("nodes", nodes(self.order))
        self.register_buffer("transform", transform(self.order))
        self.register_buffer("davg", torch.zeros(n_types, dtype=torch.float64))
        self.register_buffer("dstd", torch.ones(n_types, 2, dtype=torch.float64))
        self.register_buffer("sel", torch.ones(n_types, dtype=torch.float64))
        self.register_buffer("sees", _sees(type_map, config.exclude_types), persistent=False)

    @property
    def reach(self) -> float:
        """Distance down to which the embedding is meant to be used, A; a series holds down to it."""
        return 1.0 / float(self.s_max)

    def coupled(self) -> List[Coupling]:
        """What makes the bispectrum; none if there is none."""
        return cast(List[Coupling], list(self.couplings))

    def basis(self) -> Basis:
        """The radial functions whose moments this descriptor is made of."""
        return Basis(self.order, float(self.s_max), 0.0, self.rcut_smth, self.rcut, self.l_max)

    def geometry(self) -> Sums:
        """What depends on the structure alone: the sums over pairs."""
        return Radial(self.basis(), self.n_types, self.dtype)

    def responses(self, net: FittingNet) -> Callable[[int, Tensor, Optional[Tensor]], Tuple[Tensor, Tensor]]:
        """Function of a species, its moments P and extra inputs: energies [n], dE/dP, differentiable in weights."""
        series, slots, scale = self.series(), self.slots(net), float(net.scale)

        def respond(t: int, p: Tensor, extra: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:
            mean = (net.mean[t] / scale).to(p.dtype)
            return response.respond(p, series.of(t), mean, *net.parts(t), self.axes, slots, self.coupled(), extra)

        return respond

    def respond_together(self, net: FittingNet, types: Tensor, p: Tensor,
                         extra: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
        """Energies [N] and dE/dP of atoms of all species at once, on a CPU with compiled loops."""
        from ase_deeppot.potential import compiled_response, packed_bispectrum

        third = packed_bispectrum.packed(self.l_max, self.bispectrum_neuron, str(self.dtype).removeprefix("torch."))
        series, slots, scale = self.series(), self.slots(net), float(net.scale)
        species = []
        for t in range(self.n_types):
            shape, weights = net_response.taken_apart(*net.parts(t))
            own, mean = series.of(t), (net.mean[t] / scale).to(p.dtype)
            species.append(compiled_response.Species(response.Shape(self.axes, slots, shape), mean, own.matrices(),
                                                     own.constant, tuple(weights), third))
        return compiled_response.respond(p, types.numpy(), species, extra)

    def slots(self, net: FittingNet) -> float:
        """What ``G^T R`` is divided by: D, which is quadratic in it, is to be divided by the net's scale, too."""
        return float(self.sel.sum()) * float(net.scale) ** 0.5

    def series(self) -> Series:
        """The embedding as Chebyshev series in s, for every pair of species; the first index is that of the centre."""
        return self.read(self.curves(0.5 * self.s_max * (self.nodes + 1.0)), self.transform)

    def read(self, curves: Curves, matrix: Tensor) -> Series:
        """From values at the nodes to coefficients, by a matrix [L, n], in the precision of the nets."""
        every = (curves.radial, curves.angular, *curves.higher)
        radial, angular, *higher = (torch.matmul(matrix, curve).flatten(1, 2).to(self.dtype) for curve in every)
        constant = (curves.slot * self.sel[None, :, None]).sum(1).to(self.dtype)
        return Series(radial, angular, constant, tuple(higher))

    def curves(self, s: Tensor) -> Curves:
        """What a neighbour of weight s(r) adds to the rows of ``G^T R``, divided by s Y_a.

        Parameters
        ----------
        s : Tensor, [n] float64
            Positive, 1/A.
        """
        g, g0 = self.embedded(s)
        return self.assembled(g, (g - g0) / s[:, None], g0)

    def assembled(self, g: Tensor, rise: Tensor, g0: Tensor) -> Curves:
        """Curves from G, ``(G - G(s0)) / s`` and G(s0), all as ``embedded`` has them; linear in the first two."""
        spread, s0 = self.dstd[:, None, None, None], (-self.davg / self.dstd[:, 0])[:, None, None, None]
        radial = g / spread[..., 0] + rise * s0
        angular = g / spread[..., 1] * self.sees
        higher = tuple(((2 * l + 1) / 3) ** 0.5 * angular[..., :width]  # the spread of Y_lm is smaller
                       for l, width in enumerate(self.columns[1:], 2))  # noqa: E741
        return Curves(radial * self.sees, angular, higher, (g0 * s0)[:, :, 0])

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
        """Descriptors [n_t, width] of the centres of each species t, from their moments [n_t, Y, T, L]."""
        series, slots = self.series(), self.sel.sum().to(self.dtype)
        return [self._descriptors(moments.flatten(2), series.of(t), slots) for t, moments in enumerate(p)]

    def _descriptors(self, rows: Tensor, series: Series, slots: Tensor) -> Tensor:
        """Of the centres of one species, from the rows [n, Y, T L] of their moments."""
        scalar = rows[:, :1] @ series.radial + series.constant
        parts = [torch.cat([scalar, rows[:, 1:4] @ series.angular], dim=1)]
        parts += [rows[:, l * l : (l + 1) ** 2] @ matrix for l, matrix in enumerate(series.higher, 2)]  # noqa: E741
        pairs = zip((part / slots for part in parts), self.axes, strict=True)  # G^T R, [n, 2 l + 1, M_l]
        found = [torch.bmm(gr.transpose(1, 2), gr[:, :, :axis]).flatten(1) for gr, axis in pairs]
        if len(self.couplings):
            every = response.for_bispectrum([part / slots for part in parts], self.coupled())
            found.append(bispectrum(self.coupled(), every) / self.root.to(slots.dtype))
        return torch.cat(found, dim=1)


def _sees(type_map: Sequence[str], exclude_types: Sequence[Tuple[str, str]]) -> Tensor:
    excluded = {pair for one, other in exclude_types for pair in ((one, other), (other, one))}
    rows = [[float((c, t) not in excluded) for t in type_map] for c in type_map]
    return torch.tensor(rows, dtype=torch.float64)[:, :, None, None]
