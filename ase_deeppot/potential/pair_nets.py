"""The embedding nets evaluated for every pair, where no series follows them; value and slope go through them together.

    F_m(r) = s(r) G_m(s~),  F_(M+m)(r) = G_m(s~) - G_m(s0),   s~ = s(r)/dstd + s0,  s0 = -davg/dstd,  m < M

All that a neighbour adds to ``G^T R`` is made of these, and they vanish at the cutoff. They take the place of the
radial functions ``B_k`` in ``moments``, with others for each species of centre and neighbour.
"""

from typing import List, Optional, Tuple

import torch
from torch import Tensor, nn

from ase_deeppot.potential.moments import Basis, Block, blocks
from ase_deeppot.potential.networks import ParallelLayer, ParallelNets, activate_with_slope


class SlopingLayer(nn.Module):
    """Residual layers of the same widths, side by side, of which one at a time is evaluated, with its slope."""

    weight: Tensor  # [count, n_in, n_out] float64
    bias: Tensor  # [count, n_out] float64
    idt: Optional[Tensor]  # [count, n_out] float64

    def __init__(self, layer: ParallelLayer) -> None:
        super().__init__()
        self.activation, self.copies = layer.activation, layer.copies
        for name, value in (("weight", layer.weight), ("bias", layer.bias), ("idt", layer.idt)):
            self.register_buffer(name, None if value is None else value.detach().to(torch.float64).clone())

    def forward(self, k: int, x: Tensor, dx: Tensor) -> Tuple[Tensor, Tensor]:
        """From x [B, n_in] and its derivative to y [B, n_out] and its derivative, by the k-th layer."""
        idt = self.idt
        y, slope = activate_with_slope(torch.addmm(self.bias[k], x, self.weight[k]), self.activation)
        dy = slope * torch.mm(dx, self.weight[k])
        if idt is not None:
            y, dy = y * idt[k], dy * idt[k]
        if self.copies == 0:
            return y, dy
        return y + torch.cat([x] * self.copies, dim=1), dy + torch.cat([dx] * self.copies, dim=1)


class PairNets(nn.Module):
    """Environments of atoms as ``moments.blocks`` has them, with the functions F in place of the series' B.

    The nets are evaluated in double precision, as those are that a series is made of.
    """

    spread: Tensor  # [T], dstd of s(r), 1/A, by species of the centre
    s0: Tensor  # [T]
    empty: Tensor  # [T, T, M], G(s0), by species of centre and neighbour

    basis: Tuple[int, float, float, float, float, int]  # `Basis` with s(r) itself as its first function

    def __init__(self, nets: ParallelNets, davg: Tensor, spread: Tensor, basis: Basis, dtype: torch.dtype) -> None:
        super().__init__()
        self.layers = nn.ModuleList(SlopingLayer(layer) for layer in nets.layers)  # type: ignore[arg-type]
        self.n_types, self.dtype = len(davg), dtype
        self.one_side = len(nets.layers[0].weight) == self.n_types  # type: ignore[arg-type]
        self.basis = tuple(basis._replace(order=2))  # type: ignore[assignment]  # which TorchScript keeps
        self.register_buffer("spread", spread.clone())
        self.register_buffer("s0", -davg / spread)
        every = range(self.n_types)
        empty = [torch.cat([self.embed(c, t, self.s0[c].view(1, 1))[0] for t in every]) for c in every]
        self.register_buffer("empty", torch.stack(empty))

    @property
    def width(self) -> int:
        """Number of functions, 2 M."""
        return 2 * self.empty.shape[2]

    def forward(self, types: Tensor, i: Tensor, types_j: Tensor, vectors: Tensor) -> List[Block]:
        """Neighbours of each species, with the functions F [N, 2 M, h] and their derivatives."""
        b, dtype = self.basis, self.dtype
        basis = Basis(b[0], b[1], b[2], b[3], b[4], b[5])
        result: List[Block] = []
        for t, part in enumerate(blocks(basis, types.shape[0], self.n_types, i, types_j, vectors, torch.float64)):
            f, df = self.functions(types, t, part.basis[:, 0], part.slopes[:, 0])
            result.append(Block(part.pairs, part.slots, part.directions.to(dtype), part.angular.to(dtype),
                                part.inverse.to(dtype), f, df))
        return result

    def functions(self, types: Tensor, t: int, s: Tensor, ds: Tensor) -> Tuple[Tensor, Tensor]:
        """F and dF/dr, [N, 2 M, h], of neighbours of species t, from s and ds/dr [N, h]."""
        m, h = self.empty.shape[2], s.shape[1]
        f = torch.zeros(s.shape[0], 2 * m, h, dtype=self.dtype, device=s.device)
        df = torch.zeros_like(f)
        for c in range(self.n_types):
            mine = torch.nonzero(types == c)[:, 0]
            weight, slope = s.index_select(0, mine).unsqueeze(2), ds.index_select(0, mine).unsqueeze(2)
            g, dg = self.embed(c, t, (weight / self.spread[c] + self.s0[c]).view(-1, 1))
            g, dg = g.view(len(mine), h, m), dg.view(len(mine), h, m) / self.spread[c]
            own = torch.cat([weight * g, g - self.empty[c, t]], dim=2)
            rise = torch.cat([g + weight * dg, dg], dim=2) * slope
            f.index_copy_(0, mine, own.transpose(1, 2).to(self.dtype))
            df.index_copy_(0, mine, rise.transpose(1, 2).to(self.dtype))
        return f, df

    def embed(self, c: int, t: int, x: Tensor) -> Tuple[Tensor, Tensor]:
        """G(x) and its derivative, [B, M] each, of centres c and neighbours t, from x [B, 1]."""
        k = t if self.one_side else c * self.n_types + t
        dx = torch.ones_like(x)
        for layer in self.layers:
            x, dx = layer(k, x, dx)
        return x, dx
