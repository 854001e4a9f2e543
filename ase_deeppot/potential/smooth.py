"""The DeepPot-SE descriptor (Zhang et al., NeurIPS 2018): smooth, and invariant by construction."""

from typing import List, Tuple

import torch
from torch import Tensor, nn

from ase_deeppot.potential.config import DescriptorConfig
from ase_deeppot.potential.environment import environment_rows
from ase_deeppot.potential.networks import NetPerKind, ResidualNet


class SmoothDescriptor(nn.Module):
    """``D_i = (G^T R)(R^T G_<) / sum(sel)^2`` from the environment matrix R and the embedding G(s).

    The rows of R are shifted and scaled by ``davg``, ``dstd`` of the centre's species. In the reference
    definition the ``sel`` slots left empty are shifted too, and add ``G(s0) s0`` each, ``s0 = -davg/dstd``.
    Here every neighbour adds ``G(s) s - G(s0) s0``, which vanishes at the cutoff, and the ``sel`` slots
    together add the constant ``sel G(s0) s0``: the same function, with no slots to fill and none to run out of.
    """

    davg: Tensor  # [T], 1/A, mean of s(r)
    dstd: Tensor  # [T, 2], 1/A, spread of s(r) and of s(r) (x, y, z)/r
    sel: Tensor  # [T], neighbours of each species in a full environment

    def __init__(self, config: DescriptorConfig, rcut: float, n_types: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.rcut = rcut
        self.rcut_smth = config.rcut_smth
        self.n_types = n_types
        self.axis_neuron = config.axis_neuron
        self.type_one_side = config.type_one_side
        self.dtype = dtype
        n_nets = n_types if config.type_one_side else n_types * n_types
        widths = (1, *config.neuron)
        self.embedding = NetPerKind(
            [ResidualNet(widths, config.activation, config.resnet_dt, dtype) for _ in range(n_nets)]
        )
        self.width = config.neuron[-1] * config.axis_neuron
        self.register_buffer("davg", torch.zeros(n_types, dtype=torch.float64))
        self.register_buffer("dstd", torch.ones(n_types, 2, dtype=torch.float64))
        self.register_buffer("sel", torch.ones(n_types, dtype=torch.float64))

    def forward(self, types: Tensor, i: Tensor, types_j: Tensor, vectors: Tensor) -> Tensor:
        """Describe each centre.

        Parameters
        ----------
        types : Tensor, [N] int64
            Species of the centres.
        i : Tensor, [E] int64, ascending
            Centre of each pair.
        types_j : Tensor, [E] int64
            Species of the neighbour in each pair.
        vectors : Tensor, [E, 3] float64
            From the centre to the neighbour, A.

        Returns
        -------
        Tensor, [N, M * axis_neuron]
        """
        order, sizes = self.group_by_net(types[i], types_j)
        centres = i[order]
        rows = self.normalised_rows(types[centres], vectors[order])  # [E, 4]
        g = self.embedding(rows[:, :1], sizes)  # [E, M]
        gr = self.sum_over_neighbors(i, order, types.shape[0], rows, g)  # [N, 4, M]
        gr = gr + self.empty_slots(types, centres, types_j[order])
        gr = gr / self.sel.sum().to(self.dtype)
        return torch.bmm(gr.transpose(1, 2), gr[:, :, : self.axis_neuron]).flatten(1)

    def group_by_net(self, types_i: Tensor, types_j: Tensor) -> Tuple[Tensor, List[int]]:
        """Order of the pairs that brings those of one embedding net together, and how many each has."""
        net = types_j if self.type_one_side else types_i * self.n_types + types_j
        n_nets = self.n_types if self.type_one_side else self.n_types * self.n_types
        sizes: List[int] = torch.bincount(net, minlength=n_nets).tolist()
        return torch.argsort(net, stable=True), sizes

    def normalised_rows(self, types_i: Tensor, vectors: Tensor) -> Tensor:
        """Environment matrix in units of its spread around its mean, [E, 4]."""
        rows = environment_rows(vectors, self.rcut_smth, self.rcut)
        dstd = self.dstd[types_i]
        radial = (rows[:, :1] - self.davg[types_i][:, None]) / dstd[:, :1]
        return torch.cat([radial, rows[:, 1:] / dstd[:, 1:]], dim=1).to(self.dtype)

    def sum_over_neighbors(self, i: Tensor, order: Tensor, n: int, rows: Tensor, g: Tensor) -> Tensor:
        """``R^T G`` of each centre, [N, 4, M]: one small matrix product an atom, on blocks of equal height."""
        counts = torch.bincount(i, minlength=n)
        start = torch.cumsum(counts, 0) - counts
        height = int(counts.max()) if n > 0 else 0
        place = (i * height + torch.arange(i.shape[0], device=i.device) - start[i])[order]
        blocks_r = torch.zeros(n * height, 4, dtype=rows.dtype, device=rows.device).index_copy(0, place, rows)
        blocks_g = torch.zeros(n * height, g.shape[1], dtype=g.dtype, device=g.device).index_copy(0, place, g)
        return torch.bmm(blocks_r.view(n, height, 4).transpose(1, 2), blocks_g.view(n, height, g.shape[1]))

    def empty_slots(self, types: Tensor, centres: Tensor, types_j: Tensor) -> Tensor:
        """What the slots that no neighbour fills add to ``R^T G``: ``(sel - n) G(s0) s0``, [N, 4, M]."""
        n_types = self.n_types
        every = torch.arange(n_types, device=types.device)
        slow, fast = every.repeat_interleave(n_types), every.repeat(n_types)
        centre, neighbor = (fast, slow) if self.type_one_side else (slow, fast)  # the order of the nets
        s0 = (-self.davg / self.dstd[:, 0]).to(self.dtype)[centre][:, None]  # [T * T, 1]
        sizes = [n_types] * n_types if self.type_one_side else [1] * (n_types * n_types)
        added = self.embedding(s0, sizes) * s0  # [T * T, M]
        table = torch.zeros_like(added).index_copy(0, centre * n_types + neighbor, added).view(n_types, n_types, -1)
        filled = torch.bincount(centres * n_types + types_j, minlength=types.shape[0] * n_types)
        empty = (self.sel - filled.view(-1, n_types)).to(self.dtype)  # [N, T]
        radial = torch.bmm(empty[:, None, :], table[types])  # [N, 1, M]
        return torch.nn.functional.pad(radial, [0, 0, 0, 3])
