"""A DPMD model as it runs: sort, frames, net, and back, with all derivatives written out."""

from typing import List, Tuple

import torch
from torch import Tensor, nn

from ase_deeppot.potential.folded import ResponseNet
from ase_deeppot.potential.frames import describe, frames, gradient
from ase_deeppot.potential.slots import Slots, arrange


class FoldedLocalFrames(nn.Module):
    """``E = sum_i E_i`` as ``deep_potential.DeepPotential``, ready to run: the program in a model file."""

    slot_species: Tensor  # [S], see slots.Slots
    slot_rank: Tensor  # [S]
    axis_rules: Tensor  # [T, 2, 2]
    davg: Tensor  # [T, K], 1/A
    scale: Tensor  # [T, K], 1/dstd, A

    def __init__(self, slots: Slots, davg: Tensor, dstd: Tensor, species: List[ResponseNet]) -> None:
        super().__init__()
        self.rcut, self.full = slots.rcut, slots.full
        self.dtype = species[0].output.dtype  # of the nets
        values = (("slot_species", slots.species), ("slot_rank", slots.rank), ("axis_rules", slots.axes),
                  ("davg", davg), ("scale", 1.0 / dstd))
        for name, value in values:
            self.register_buffer(name, value)
        self.species = nn.ModuleList(species)

    def forward(self, types: Tensor, i: Tensor, types_j: Tensor, vectors: Tensor) -> Tuple[Tensor, Tensor]:
        """Atomic energies E_i [N], eV, and dE/dvectors [E, 3], eV/A, float64; as ``DeepPotential.forward``."""
        if bool((i[1:] < i[:-1]).any()):
            raise ValueError("expected pairs in ascending order of their centre, got them unsorted")
        slots = Slots(self.rcut, self.full, self.slot_species, self.slot_rank, self.axis_rules)
        placed = frames(arrange(slots, types, i, types_j, vectors), self.full, i, vectors)
        d = describe(placed)
        g = torch.empty_like(d)
        energies = torch.empty(types.shape[0], dtype=torch.float64, device=types.device)
        for t, net in enumerate(self.species):
            mine = torch.nonzero(types == t)[:, 0]
            e_t, g_t = net(((d.index_select(0, mine) - self.davg[t]) * self.scale[t]).to(self.dtype))
            energies = energies.index_copy(0, mine, e_t)
            g = g.index_copy(0, mine, g_t.to(torch.float64) * self.scale[t])
        return energies, gradient(placed, g, vectors.shape[0])
