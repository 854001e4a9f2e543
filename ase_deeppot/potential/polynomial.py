"""A cubic polynomial in place of a net's linear output: few numbers to multiply, and least squares can find it.

    E = sum_abc w_abc z_a z_b z_c,   a <= b <= c,   z_0 = 1

of what the last layer has made. For each pair (a, b) it takes the c of one run.
"""

from typing import Tuple

import torch
from torch import Tensor, nn


class Polynomial(nn.Module):
    """``E(z)`` and its derivative."""

    pairs: Tensor  # [2, R] int64, a and b; 0 is the constant
    places: Tensor  # [M] int64, R c + r of each term, one pair r after the other, and c in its run
    weight: Tensor  # [M], w_abc

    def __init__(self, inputs: int, pairs: int, terms: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.inputs = inputs
        self.register_buffer("pairs", torch.zeros(2, pairs, dtype=torch.int64))
        self.register_buffer("places", torch.arange(terms, dtype=torch.int64))
        self.register_buffer("weight", torch.zeros(terms, dtype=dtype))

    def forward(self, z: Tensor) -> Tuple[Tensor, Tensor]:
        """Values [n] and dE/dz [n, k], of z [n, k]."""
        every, weight = torch.cat([torch.ones_like(z[:, :1]), z], dim=1), self.matrix()
        first, second = every.index_select(1, self.pairs[0]), every.index_select(1, self.pairs[1])
        of_run, both = torch.mm(every, weight), first * second
        g = torch.mm(both, weight.t())
        g = g.index_add(1, self.pairs[0], second * of_run).index_add(1, self.pairs[1], first * of_run)
        return (both * of_run).sum(1), g[:, 1:]

    def matrix(self) -> Tensor:
        """Weights [k + 1, R] of all c, zero for those that are not taken: a file holds the others only."""
        rows, columns = self.inputs + 1, self.pairs.shape[1]
        none = torch.zeros(rows * columns, dtype=self.weight.dtype, device=self.weight.device)
        return none.index_copy(0, self.places, self.weight).view(rows, columns)
