"""A first layer that takes small products in single precision, where their rounding does not show in double precision.

Of a model of DeePMD-kit's four fifths of the products in the first layer of the folded net are so small: each is known
to a relative 1e-7 then, and together, as they add some 1e-4 of all, to the 1e-11 that is left out anyway.
Matrix products in single precision take half the time.
"""

from typing import List, cast

import torch
from torch import Tensor

from ase_deeppot.potential.folded import FoldedProducts, ResponseLayer, ResponseNet

FEWEST = 64  # small products with which it pays


class MixedLayer(ResponseLayer):
    """The same layer, with input columns from the n-th on in single precision."""

    small: Tensor  # [n_in - n, n_out] float32, rows of the weight

    def __init__(self, layer: ResponseLayer, n_large: int) -> None:
        super().__init__(layer.weight[:n_large], layer.bias, layer.idt, layer.activation, 0)
        self.n_large = n_large
        self.register_buffer("small", layer.weight[n_large:].to(torch.float32))

    def linear(self, x: Tensor, factor: float) -> Tensor:
        """See :class:`ResponseLayer`."""
        u = torch.addmm(self.bias, x[:, : self.n_large], self.weight, beta=factor, alpha=factor)
        return u.add_(torch.mm(x[:, self.n_large :].to(torch.float32), self.small), alpha=factor)

    def backward(self, g: Tensor, slope: Tensor) -> Tensor:
        """See :class:`ResponseLayer`."""
        inner = slope.mul_(g)
        back = torch.empty(g.shape[0], self.n_large + self.small.shape[0], dtype=g.dtype, device=g.device)
        torch.mm(inner, self.weight.t(), out=back[:, : self.n_large])
        back[:, self.n_large :] = torch.mm(inner.to(torch.float32), self.small.t())
        return back


def with_single_precision(net: ResponseNet, parts: List[FoldedProducts]) -> ResponseNet:
    """The net with such a first layer, where that pays: in double precision, with products of orders 0 and 1 alone."""
    layers, runs = cast(List[ResponseLayer], list(net.layers)), parts[0].runs
    if len(layers) == 0 or net.output.dtype != torch.float64 or len(parts) > 1 or len(parts[0].higher) > 0:
        return net
    n_large, n_small = (int(length.sum()) for length in runs.diff(dim=0))
    if layers[0].weight.shape[0] > n_large + n_small or layers[0].shortcut is not None or n_small < FEWEST:
        return net
    return ResponseNet([MixedLayer(layers[0], n_large), *layers[1:]], net.output, net.bias).eval()
