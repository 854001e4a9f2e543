"""A Deep Potential as it runs whose embedding nets, or those of some parts, are evaluated for every pair."""

from typing import List, Tuple, Union

import torch
from torch import Tensor, nn

from ase_deeppot.potential.folded import FoldedPotential, FoldedSpecies
from ase_deeppot.potential.moments import Basis, Block, blocks
from ase_deeppot.potential.pair_nets import PairNets


class SeriesBlocks(nn.Module):
    """``moments.blocks`` of a part that has a series."""

    basis: Tuple[int, float, float, float, float, int]  # `Basis`

    def __init__(self, basis: Basis, n_types: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.basis = tuple(basis)  # type: ignore[assignment]  # which TorchScript keeps
        self.n_types, self.dtype = n_types, dtype

    def forward(self, types: Tensor, i: Tensor, types_j: Tensor, vectors: Tensor) -> List[Block]:
        """As ``PairNets.forward``."""
        b = self.basis
        basis = Basis(b[0], b[1], b[2], b[3], b[4], b[5])
        return blocks(basis, types.shape[0], self.n_types, i, types_j, vectors, self.dtype)


class PairwisePotential(FoldedPotential):
    """``FoldedPotential`` in which each part of the descriptor has its own way to the moments; for torch alone."""

    def __init__(self, parts: List[Union[PairNets, SeriesBlocks]], bases: List[Basis], species: List[FoldedSpecies],
                 dtype: torch.dtype, normalisation: Tuple[Tensor, Tensor]) -> None:
        super().__init__(bases, species, dtype, normalisation)
        self.parts = nn.ModuleList(parts)

    def blocks(self, types: Tensor, i: Tensor, types_j: Tensor, vectors: Tensor) -> List[List[Block]]:
        """The neighbours as each part of the descriptor sees them."""
        return [part(types, i, types_j, vectors) for part in self.parts]
