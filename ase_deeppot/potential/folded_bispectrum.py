"""The bispectrum in a model as it runs, from the folded environments, and the way back."""

from typing import List, Tuple

import torch
from torch import Tensor, nn

from ase_deeppot.potential.bispectrum import Coupling


class FoldedBispectrum(nn.Module):
    """Invariants of the first columns of the environments, ``A = y[:axis] axis_l``."""

    low_axis: Tensor  # [axis, columns], of order 1
    higher_axes: Tensor  # [l - 1, axis', columns], of orders 2 and up to those that couple

    def __init__(self, every: List[Coupling], low_axis: Tensor, higher_axes: Tensor) -> None:
        super().__init__()
        self.couplings = nn.ModuleList(every)
        self.places = [(one.first, one.second, one.third) for one in every] or [(0, 0, 0)]  # TorchScript wants some
        self.sizes = [len(one.places) for one in every] or [0]
        self.register_buffer("low_axis", low_axis)
        self.register_buffer("higher_axes", higher_axes)

    def width(self) -> int:
        """Number of invariants."""
        return sum(self.sizes)

    def forward(self, y: List[Tensor]) -> Tensor:
        """B [n, K], from orders 0 and 1 together and each higher one, [n, 2 l + 1, R]."""
        a = self.taken(y)
        values = [y[0][:, 0, :0]]
        for k, one in enumerate(self.couplings):
            p, q, r = self.places[k]
            values.append(one(a[p], a[q], a[r]))
        return torch.cat(values, dim=1)

    def backward(self, y: List[Tensor], g: Tensor) -> List[Tensor]:
        """Add-ons to the derivatives by the first columns of y, orders 1 and up; none where there is no bispectrum."""
        a = self.taken(y)
        bars = [torch.zeros_like(part) for part in a]
        start = 0
        for k, one in enumerate(self.couplings):
            stop, (p, q, r) = start + self.sizes[k], self.places[k]
            found: Tuple[Tensor, Tensor, Tensor] = one.backward(g[:, start:stop], a[p], a[q], a[r])  # type: ignore[operator]
            bars[p] += found[0]
            bars[q] += found[1]
            bars[r] += found[2]
            start = stop
        return [torch.matmul(bar, self._axis(k).t()) for k, bar in enumerate(bars)]

    def taken(self, y: List[Tensor]) -> List[Tensor]:
        """What it takes of orders 1 and up, [n, 2 l + 1, columns]; nothing where there is no bispectrum."""
        if self.low_axis.shape[1] == 0:
            return y[:0]
        a = [torch.matmul(y[0][:, 1:, : self.low_axis.shape[0]], self.low_axis)]
        for k in range(self.higher_axes.shape[0]):
            a.append(torch.matmul(y[k + 1][:, :, : self.higher_axes.shape[1]], self.higher_axes[k]))  # noqa: PERF401
        return a

    def _axis(self, k: int) -> Tensor:
        """Of order k + 1."""
        return self.low_axis if k == 0 else self.higher_axes[k - 1]
