"""A model in training as the compiled loops take it, in the order in which they give its derivatives back."""

from typing import List, NamedTuple, Optional, Tuple, cast

import numpy as np
import torch
from torch import Tensor

from ase_deeppot.potential import kernels
from ase_deeppot.potential.kernels.activations import CODES, SILUT
from ase_deeppot.potential.response import Shape
from ase_deeppot.potential.silut import threshold_in


class Species(NamedTuple):
    """What a step knows of the model for the centres of one species."""

    shape: Shape
    mean: Tensor  # [width], what is taken from the descriptor
    matrices: Tuple[Tensor, ...]  # of each angular order, [T L, M_l]
    constant: Tensor  # [M]
    weights: Tuple[Optional[Tensor], ...]  # as `net_response.taken_apart` has them


class Packed(NamedTuple):
    """The same as the loops take it."""

    net: kernels.Net
    mixing: kernels.Mixing
    mean: np.ndarray


class Bars:
    """Derivatives that one thread adds up, of all but the matrices of the net."""

    def __init__(self, packed: Packed) -> None:
        net, mixing, _ = packed
        self.small = np.zeros(_first_matrix(net), net.weights.dtype)  # biases and timesteps, as `Net` has them
        self.output, self.constant = np.zeros_like(net.output), np.zeros_like(mixing.constant)
        self.embedding = np.zeros_like(mixing.matrices)


def laid_out(one: Species) -> Packed:
    """The weights as they are now."""
    dtype = np.dtype(str(one.constant.dtype).removeprefix("torch."))
    constant = _row(one.constant, dtype)
    return Packed(_net(one, dtype), _mixing(one, dtype, constant), one.mean.detach().numpy())


def _net(one: Species, dtype: np.dtype) -> kernels.Net:
    """The net, with biases and timesteps before the matrices."""
    activation, copies = one.shape.net
    code = SILUT if activation.startswith("silut") else CODES[activation]
    threes = list(zip(one.weights[2::3], one.weights[3::3], one.weights[4::3], copies, strict=True))
    rows = [row for _, bias, idt, _ in threes for row in (bias, idt)]
    places = [0]
    for row in rows:
        places.append(places[-1] + (0 if row is None else kernels.whole(len(row))))
    table, end = [], places[-1]
    for k, (matrix, _, idt, of_x) in enumerate(threes):
        n_in, n_out = cast(Tensor, matrix).shape
        place_of_idt = -1 if idt is None else places[2 * k + 1]
        table.append([n_in, n_out, of_x, code, -1, end, places[2 * k], place_of_idt, -1, -1])
        end += kernels.four(n_in) * kernels.whole(n_out)
    weights = np.zeros(end, dtype)
    for row, place in zip(rows, places, strict=False):
        if row is not None:
            weights[place : place + len(row)] = row.detach().numpy()
    for layer, (matrix, *_) in zip(table, threes, strict=True):
        kernels.lay_out(cast(Tensor, matrix).detach().numpy(), layer[kernels.BACK], weights)
    thresholds = np.full(len(table), threshold_in(activation) if activation.startswith("silut") else 0.0)
    return kernels.Net(np.array(table, np.int64).reshape(-1, 10), thresholds, weights, np.zeros(0, np.float32), 0, 0,
                       _row(cast(Tensor, one.weights[0])[0], dtype), 0.0)


def _mixing(one: Species, dtype: np.dtype, constant: np.ndarray) -> kernels.Mixing:
    axes = (one.shape.axes[0], *one.shape.axes)  # orders 0 and 1 have one in common
    length = len(one.matrices[0])
    table, end, column = [], 0, 0
    for l, (matrix, axis) in enumerate(zip(one.matrices, axes, strict=True)):  # noqa: E741
        width = matrix.shape[1]
        table.append([l * l, 2 * l + 1, width, axis, column, end])
        column += 0 if l == 0 else width * axis
        end += kernels.four(length) * kernels.whole(width)
    matrices = np.empty(end, dtype)
    for order, matrix in zip(table, one.matrices, strict=True):
        kernels.lay_out(matrix.detach().numpy(), order[kernels.START], matrices)
    stride = max(int(kernels.whole(order[2])) for order in table)
    return kernels.Mixing(np.array(table, np.int64), matrices, constant, 1.0 / one.shape.slots, length, stride)


def _row(values: Tensor, dtype: np.dtype) -> np.ndarray:
    """Filled up with zeros to whole vectors."""
    row = np.zeros(kernels.whole(len(values)), dtype)
    row[: len(values)] = values.detach().numpy()
    return row


def gradients(one: Species, packed: Packed, own: List[Bars], matrices: np.ndarray,
              e_bar: float) -> List[Optional[Tensor]]:
    """In the order of what ``respond`` differentiates by."""
    net, mixing, _ = packed
    small, output, constant, embedding = (sum(parts[1:], start=parts[0]) for parts in zip(
        *((bars.small, bars.output, bars.constant, bars.embedding) for bars in own), strict=True))
    result: List[Optional[Tensor]] = [torch.from_numpy(constant[: len(one.constant)] * mixing.inverse)]
    embedding *= mixing.inverse
    result += [_unpacked(embedding, order[kernels.START], mixing.length, order[2]) for order in mixing.orders]
    result += [torch.from_numpy(output[: one.weights[0].shape[1]])[None],  # type: ignore[union-attr]
               torch.tensor([e_bar], dtype=one.constant.dtype)]
    for layer in net.layers:
        n_in, n_out, bias, idt = (int(layer[place]) for place in (0, 1, kernels.BIAS, kernels.IDT))
        result += [_unpacked(matrices, layer[kernels.BACK], n_in, n_out), torch.from_numpy(small[bias : bias + n_out]),
                   None if idt < 0 else torch.from_numpy(small[idt : idt + n_out])]
    return result


def _unpacked(values: np.ndarray, start: int, rows: int, columns: int) -> Tensor:
    """A matrix [rows, columns] of those that are laid out in a flat array."""
    width = int(kernels.whole(columns))
    return torch.from_numpy(values[start : start + rows * width].reshape(rows, width)[:, :columns])


def _first_matrix(net: kernels.Net) -> int:
    """Where the matrices begin."""
    return int(net.layers[0, kernels.BACK]) if len(net.layers) else 0
