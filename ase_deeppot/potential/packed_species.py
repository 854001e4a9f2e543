"""A model in training as the compiled loops take it, in the order in which they give its derivatives back."""

from typing import List, NamedTuple, Optional, Tuple, cast

import numpy as np
import torch
from torch import Tensor

from ase_deeppot.potential import kernels
from ase_deeppot.potential.packed_net import code_of, terms, threshold_of
from ase_deeppot.potential.response import Shape

# As they are written: a call from Python of what is compiled takes longer than such a sum
four, whole, capacity = kernels.four.py_func, kernels.whole.py_func, kernels.capacity.py_func

Layer = Tuple[Tensor, Tensor, Optional[Tensor]]  # matrix, bias, timestep


class Species(NamedTuple):
    """What a step knows of the model for the centres of one species."""

    shape: Shape
    mean: Tensor  # [width], what is taken from the descriptor
    matrices: Tuple[Tensor, ...]  # of each angular order, [T L, M_l]
    constant: Tensor  # [M]
    weights: Tuple[Optional[Tensor], ...]  # as `net_response.taken_apart` has them
    third: kernels.Third  # of the bispectrum


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
    activation, copies, _ = one.shape.net
    layers = [cast(Layer, layer) for layer in zip(one.weights[2::3], one.weights[3::3], one.weights[4::3], strict=True)]
    table, length = _table(layers, activation, copies)
    weights = np.zeros(length, dtype)
    for place, (matrix, *rows) in zip(table, layers, strict=True):
        for start, row in zip((place[kernels.BIAS], place[kernels.IDT]), rows, strict=True):
            if row is not None:
                weights[start : start + len(row)] = row.detach().numpy()
        kernels.lay_out(matrix.detach().numpy(), place[kernels.BACK], weights)
    thresholds = np.full(len(table), threshold_of(activation))
    return kernels.Net(table, thresholds, weights, np.zeros(0, np.float32), 0, 0,
                       _row(cast(Tensor, one.weights[0])[0], dtype), 0.0, terms(None, one.constant.dtype))


def _table(layers: List[Layer], activation: str, copies: Tuple[int, ...]) -> Tuple[np.ndarray, int]:
    """Where in the weights what of the layers begins, biases and timesteps before matrices; and the length of all."""
    table, end = np.full((len(layers), 10), -1, np.int64), 0
    for place, (matrix, bias, idt), of_x in zip(table, layers, copies, strict=True):
        place[:4] = *matrix.shape, of_x, code_of(activation)
        place[kernels.BIAS], end = end, end + whole(len(bias))
        if idt is not None:
            place[kernels.IDT], end = end, end + whole(len(idt))
    for place in table:
        place[kernels.BACK], end = end, end + four(place[kernels.N_IN]) * whole(place[kernels.N_OUT])
    return table, int(end)


def _mixing(one: Species, dtype: np.dtype, constant: np.ndarray) -> kernels.Mixing:
    axes = (one.shape.axes[0], *one.shape.axes)  # orders 0 and 1 have one in common
    length = len(one.matrices[0])
    table, end, column = [], 0, 0
    for l, (matrix, axis) in enumerate(zip(one.matrices, axes, strict=True)):  # noqa: E741
        width = matrix.shape[1]
        table.append([l * l, 2 * l + 1, width, axis, column, end])
        column += 0 if l == 0 else width * axis  # in the end, where the bispectrum begins
        end += four(length) * whole(width)
    matrices = np.empty(end, dtype)
    for order, matrix in zip(table, one.matrices, strict=True):
        kernels.lay_out(matrix.detach().numpy(), order[kernels.START], matrices)
    stride = max(int(whole(order[kernels.COLUMNS])) for order in table)
    return kernels.Mixing(np.array(table, np.int64), matrices, constant, 1.0 / one.shape.slots, length, stride,
                          one.third, column)


def _row(values: Tensor, dtype: np.dtype) -> np.ndarray:
    """Filled up with zeros to whole vectors."""
    row = np.zeros(whole(len(values)), dtype)
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
    result += [_unpacked(embedding, order[kernels.START], mixing.length, order[kernels.COLUMNS])
               for order in mixing.orders]
    result += [torch.from_numpy(output[: one.weights[0].shape[1]])[None],  # type: ignore[union-attr]
               torch.tensor([e_bar], dtype=one.constant.dtype)]
    for layer in net.layers:
        n_in, n_out, bias, idt = (int(layer[place]) for place in
                                  (kernels.N_IN, kernels.N_OUT, kernels.BIAS, kernels.IDT))
        result += [_unpacked(matrices, layer[kernels.BACK], n_in, n_out), torch.from_numpy(small[bias : bias + n_out]),
                   None if idt < 0 else torch.from_numpy(small[idt : idt + n_out])]
    return result


def _unpacked(values: np.ndarray, start: int, rows: int, columns: int) -> Tensor:
    """A matrix [rows, columns] of those that are laid out in a flat array."""
    width = int(whole(columns))
    return torch.from_numpy(values[start : start + rows * width].reshape(rows, width)[:, :columns])


def _first_matrix(net: kernels.Net) -> int:
    """Where the matrices begin."""
    return int(net.layers[0, kernels.BACK]) if len(net.layers) else 0
