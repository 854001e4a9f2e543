"""A fitting net as the compiled loops take it, and which of its input is taken in single precision.

Of a model of DeePMD-kit's in double precision four fifths of the products in the first layer of the folded net are so
small that each is known to a relative 1e-7 then, and together, as they add some 1e-4 of all, to the 1e-11 that is left
out anyway. Matrix products in single precision take half the time.
"""

from typing import List, Optional, cast

import numpy as np
import torch
from torch import Tensor

from ase_deeppot.potential import kernels
from ase_deeppot.potential.folded import FoldedProducts, ResponseLayer, ResponseNet
from ase_deeppot.potential.kernels.activations import CODES, SILUT
from ase_deeppot.potential.polynomial import Polynomial
from ase_deeppot.potential.silut import threshold_in

FEWEST = 64  # small products with which it pays


def packed(net: ResponseNet, parts: List[FoldedProducts]) -> kernels.Net:
    """The net in flat arrays."""
    layers = cast(List[ResponseLayer], list(net.layers))
    n_small = small_inputs(net, parts)
    weights, table = _Flat(net.output.dtype), []
    single = _Flat(torch.float32)
    n_large = 0
    for k, layer in enumerate(layers):
        n_in, n_out = layer.weight.shape
        n_large = n_in - n_small if k == 0 else n_large
        matrix = layer.weight[:n_large] if k == 0 else layer.weight
        table.append([n_in, n_out, layer.copies, code_of(layer.activation), weights.matrix(matrix.t()),
                      weights.matrix(matrix), weights.row(layer.bias), weights.row(layer.idt),
                      weights.matrix(None if layer.shortcut is None else layer.shortcut.t()),
                      weights.matrix(layer.shortcut)])
    if n_small:
        single.matrix(layers[0].weight[n_large:].t())
        single.matrix(layers[0].weight[n_large:])
    thresholds = [threshold_of(layer.activation) for layer in layers]
    return kernels.Net(np.array(table, np.int64).reshape(-1, 10), np.array(thresholds), weights.array(),
                       single.array(), n_large, n_small, _row(net.output).numpy(), float(net.bias),
                       terms(net.polynomial, net.output.dtype))


def terms(polynomial: Optional[Polynomial], dtype: torch.dtype) -> kernels.Terms:
    """What the polynomial takes, run by run; nothing where the output is linear."""
    if polynomial is None:
        return kernels.Terms(np.zeros((0, 5), np.int64), torch.zeros(0, dtype=dtype).numpy(), 0)
    count = polynomial.pairs.shape[1]
    c, run = (part.cpu().numpy() for part in (polynomial.places // count, polynomial.places % count))
    start = np.searchsorted(run, np.arange(count))
    table = [*polynomial.pairs.cpu().numpy(), c[start], start, np.diff(start, append=len(run))]
    return kernels.Terms(np.stack(table, axis=1), polynomial.weight.cpu().numpy(), polynomial.inputs)


def code_of(activation: str) -> int:
    """The number by which the loops know an activation function."""
    return SILUT if activation.startswith("silut") else CODES[activation]


def threshold_of(activation: str) -> float:
    """That of ``silut``; others have none."""
    return threshold_in(activation) if activation.startswith("silut") else 0.0


def small_inputs(net: ResponseNet, parts: List[FoldedProducts]) -> int:
    """How many, the last ones, single precision is enough for: in double precision, of orders 0 and 1 alone."""
    layers, runs = cast(List[ResponseLayer], list(net.layers)), parts[0].runs
    if len(layers) == 0 or net.output.dtype != torch.float64 or len(parts) > 1 or len(parts[0].higher) > 0:
        return 0
    n_large, n_small = (int(length.sum()) for length in runs.diff(dim=0))
    if layers[0].weight.shape[0] > n_large + n_small or layers[0].shortcut is not None or n_small < FEWEST:
        return 0
    return n_small


class _Flat:
    """Arrays one after the other, filled up as the loops want them."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype, self._parts = dtype, [torch.zeros(0, dtype=dtype)]

    def row(self, values: Optional[Tensor]) -> int:
        """Where a row [n] begins now, or -1 if there is none."""
        return -1 if values is None else self._add(_row(values))

    def matrix(self, values: Optional[Tensor]) -> int:
        """Where a matrix [columns, length] begins now, or -1 if there is none."""
        if values is None:
            return -1
        return self._add(torch.nn.functional.pad(_row(values), [0, 0, 0, -len(values) % 4]))

    def array(self) -> np.ndarray:
        return torch.cat(self._parts).numpy()

    def _add(self, values: Tensor) -> int:
        start = sum(len(part) for part in self._parts)
        self._parts.append(values.detach().to("cpu", self._dtype).reshape(-1))
        return start


def _row(values: Tensor) -> Tensor:
    """Rows filled up with zeros to whole vectors."""
    return torch.nn.functional.pad(values.detach().cpu(), [0, -values.shape[-1] % kernels.LANES])
