"""``response`` for all species at once in compiled loops: training on a CPU, atoms shared among threads."""

from typing import Any, List, NamedTuple, Optional, Sequence, Tuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ase_deeppot.potential import kernels
from ase_deeppot.potential.kernels.activations import CODES, SILUT
from ase_deeppot.potential.response import Shape
from ase_deeppot.potential.silut import threshold_in
from ase_deeppot.potential.threads import number_of_threads, shared_threads

FEWEST = 12  # atoms of a species that are worth a thread


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


class Task(NamedTuple):
    """Some atoms of one species, and what is kept of them."""

    species: int
    atoms: np.ndarray  # [n]
    around: kernels.Surroundings
    kept: kernels.Kept


def respond(p: Tensor, types: np.ndarray, species: Sequence[Species], extra: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
    """Energies [N], eV, without the biases of the species, and K = dE/dP, from the moments P [N, Y, T, L].

    Differentiable once more in all weights, as ``response.respond``.
    """
    flat = [tensor for one in species for tensor in (one.constant, *one.matrices, *one.weights)]
    result: Tuple[Tensor, Tensor] = _Responses.apply(p.contiguous(), types, tuple(species), extra, *flat)
    return result


class _Responses(torch.autograd.Function):

    @staticmethod
    def forward(ctx: Any, p: Tensor, types: np.ndarray, species: Tuple[Species, ...], extra: Optional[Tensor],
                *flat: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
        moments = p.detach().numpy().reshape(*p.shape[:2], -1)
        beside = np.zeros((len(p), 0), moments.dtype) if extra is None else extra.detach().numpy()
        threads = number_of_threads()
        packed: List[Optional[Packed]] = [None] * len(species)

        def lay_out(share: int) -> None:
            for c in range(share, len(species), threads):
                packed[c] = _packed(species[c], moments.dtype, beside.shape[1])

        shared_threads().run(lay_out, threads)
        every = cast(List[Packed], packed)
        tasks = _tasks(types, every, threads)
        energies, k = np.empty(len(p), moments.dtype), np.empty_like(moments)

        def work(share: int) -> None:
            for c, atoms, around, kept in tasks[share::threads]:
                kernels.respond(*every[c], atoms, moments, beside, around, kept, energies, k)

        shared_threads().run(work, threads)
        bias = torch.stack([cast(Tensor, one.weights[1]).detach().reshape(()) for one in species])
        ctx.kept = species, every, tasks, threads
        return torch.from_numpy(energies) + bias[torch.from_numpy(types)], torch.from_numpy(k).view_as(p)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tuple[Optional[Tensor], ...]:
        species, packed, tasks, threads = ctx.kept
        e_bar, k_bar = grads[0].contiguous().numpy(), grads[1].contiguous().flatten(2).numpy()
        own = [[_Bars(one) for one in packed] for _ in range(threads)]

        def work(share: int) -> None:
            for c, atoms, around, kept in tasks[share::threads]:
                net, mixing, _ = packed[c]
                bars = own[share][c]
                kernels.respond_backward(net, mixing, atoms, e_bar, k_bar, around, kept, bars.small, bars.output,
                                         bars.constant)
                kernels.add_embedding_bars(mixing, len(atoms), around, bars.embedding)

        shared_threads().run(work, threads)
        matrices = [np.zeros_like(one.net.weights) for one in packed]
        shared_threads().run(lambda share: _add_matrix_bars(packed, tasks, matrices, share, threads), threads)
        found: List[Optional[Tensor]] = []
        for c, one in enumerate(species):
            mine = [e_bar[task.atoms].sum() for task in tasks if task.species == c]
            found += (_gradients(one, packed[c], [bars[c] for bars in own], matrices[c], float(sum(mine))) if mine
                      else [None] * (1 + len(one.matrices) + len(one.weights)))  # not zero: its weights rest
        return None, None, None, None, *found


class _Bars:
    """Derivatives that one thread adds up."""

    def __init__(self, packed: Packed) -> None:
        net, mixing, _ = packed
        self.small = np.zeros(_first_matrix(net), net.weights.dtype)
        self.output, self.constant = np.zeros_like(net.output), np.zeros_like(mixing.constant)
        self.embedding = np.zeros_like(mixing.matrices)


def _packed(one: Species, dtype: np.dtype, n_extra: int) -> Packed:
    constant = _row(one.constant, dtype)
    return Packed(_net(one, dtype, n_extra), _mixing(one, dtype, constant), one.mean.detach().numpy())


def _net(one: Species, dtype: np.dtype, n_extra: int) -> kernels.Net:
    """The net, with biases and timesteps before the matrices."""
    activation, copies = one.shape.net
    threes = list(zip(one.weights[2::3], one.weights[3::3], one.weights[4::3], copies, strict=True))
    rows = [row for _, bias, idt, _ in threes for row in (bias, idt)]
    places = [0]
    for row in rows:
        places.append(places[-1] + (0 if row is None else kernels.whole(len(row))))
    table, end = [], places[-1]
    for k, (matrix, _, idt, of_x) in enumerate(threes):
        n_in, n_out = cast(Tensor, matrix).shape
        code = SILUT if activation.startswith("silut") else CODES[activation]
        table.append([n_in, n_out, of_x, code, -1, end, places[2 * k], -1 if idt is None else places[2 * k + 1], -1, -1])
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


def _tasks(types: np.ndarray, packed: List[Packed], threads: int) -> List[Task]:
    """Atoms by species, each species shared among the threads."""
    tasks = []
    for c, one in enumerate(packed):
        atoms = np.flatnonzero(types == c)
        count = max(1, min(threads, len(atoms) // FEWEST))
        tasks += [Task(c, part, *_room(one, len(part))) for part in np.array_split(atoms, count) if len(part)]
    return tasks


def _room(packed: Packed, n: int) -> Tuple[kernels.Surroundings, kernels.Kept]:
    """Room for what is kept of n atoms."""
    net, mixing, mean = packed
    rows, dtype, depth = int(kernels.capacity(n)), net.weights.dtype, len(net.layers)
    around = sum(int(kernels.capacity(n * order[1])) for order in mixing.orders)
    moments, mixed = around * int(kernels.whole(mixing.length)), around * mixing.stride
    first = int(net.layers[0, 0]) if depth else len(net.output)
    stride_in = int(kernels.whole(first))
    stride = max((int(kernels.whole(layer[1])) for layer in net.layers), default=stride_in)
    inputs, layers = [np.empty(rows * stride_in, dtype) for _ in range(3)], [
        np.empty((depth, rows * stride), dtype) for _ in range(8)]
    return (kernels.Surroundings(*(np.empty(moments, dtype) for _ in range(2)),
                                 *(np.empty(mixed, dtype) for _ in range(4))),
            kernels.Kept(*inputs, *layers, stride_in, stride))


def _first_matrix(net: kernels.Net) -> int:
    """Where the matrices begin."""
    return int(net.layers[0, kernels.BACK]) if len(net.layers) else 0


def _add_matrix_bars(packed: List[Packed], tasks: List[Task], bars: List[np.ndarray], share: int, threads: int) -> None:
    """Derivatives by some rows of each matrix, from all atoms."""
    for c, one in enumerate(packed):
        for k, layer in enumerate(one.net.layers):
            quads = int(kernels.four(layer[0])) // 4
            first, last = (4 * (quads * part // threads) for part in (share, share + 1))
            for task in tasks:
                if task.species == c and last > first:
                    kernels.add_matrix_bars(one.net, k, len(task.atoms), task.kept, first, last, bars[c])


def _gradients(one: Species, packed: Packed, own: List[_Bars], matrices: np.ndarray,
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
