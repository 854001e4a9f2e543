"""``response`` for all species at once in compiled loops: training on a CPU, atoms shared among threads."""

from typing import Any, List, NamedTuple, Optional, Sequence, Tuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ase_deeppot.potential import kernels
from ase_deeppot.potential.atom_groups import Group, groups
from ase_deeppot.potential.packed_species import Bars, Packed, Species, capacity, four, gradients, laid_out, whole
from ase_deeppot.potential.threads import shared_threads, threads_for


class Room(NamedTuple):
    """What is kept of a group of atoms."""

    around: kernels.Surroundings
    kept: kernels.Kept


def respond(p: Tensor, types: np.ndarray, species: Sequence[Species], extra: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
    """Energies [N], eV, without the biases of the species, and K = dE/dP, from the moments P [N, Y, T, L].

    Differentiable once more in all weights, as ``response.respond``.
    """
    flat = [tensor for one in species for tensor in (one.constant, *one.matrices, *one.weights)]
    keep = torch.is_grad_enabled()
    result: Tuple[Tensor, Tensor] = _Responses.apply(p.contiguous(), types, tuple(species), extra, keep, *flat)
    return result


class _Responses(torch.autograd.Function):

    @staticmethod
    def forward(ctx: Any, p: Tensor, types: np.ndarray, species: Tuple[Species, ...], extra: Optional[Tensor],
                keep: bool, *flat: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
        moments = p.detach().flatten(2).numpy()
        beside = np.zeros((len(p), 0), moments.dtype) if extra is None else extra.detach().numpy()
        threads = threads_for(len(types))
        packed = _all_laid_out(species, threads)
        every = groups(types, len(species), threads)
        rooms: List[Optional[Room]] = [None] * len(every)
        energies, k = np.empty(len(p), moments.dtype), np.empty_like(moments)

        def work(share: int) -> None:
            for g in range(share, len(every), threads):
                c, atoms = every[g]
                room = _room(packed[c], len(atoms))
                kernels.respond(*packed[c], atoms, moments, beside, *room, energies, k)
                rooms[g] = room if keep else None

        shared_threads().run(work, threads)
        bias = torch.stack([cast(Tensor, one.weights[1]).detach().reshape(()) for one in species])
        ctx.kept = species, packed, every, rooms, threads
        return torch.from_numpy(energies) + bias[torch.from_numpy(types)], torch.from_numpy(k).view_as(p)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tuple[Optional[Tensor], ...]:
        species, packed, every, rooms, threads = ctx.kept
        e_bar, k_bar = grads[0].contiguous().numpy(), grads[1].contiguous().flatten(2).numpy()
        own = [[Bars(one) for one in packed] for _ in range(threads)]

        def work(share: int) -> None:
            for (c, atoms), (around, kept) in zip(every[share::threads], rooms[share::threads], strict=True):
                (net, mixing, _), bars = packed[c], own[share][c]
                kernels.respond_backward(net, mixing, atoms, e_bar, k_bar, around, kept, bars.small, bars.output,
                                         bars.constant)
                kernels.add_embedding_bars(mixing, len(atoms), around, bars.embedding)

        shared_threads().run(work, threads)
        matrices = [np.zeros_like(one.net.weights) for one in packed]
        shared_threads().run(lambda share: _add_matrix_bars(packed, every, rooms, matrices, share, threads), threads)
        found: List[Optional[Tensor]] = []
        for c, one in enumerate(species):
            mine = [e_bar[group.atoms].sum() for group in every if group.species == c]
            found += (gradients(one, packed[c], [bars[c] for bars in own], matrices[c], float(sum(mine))) if mine
                      else [None] * (1 + len(one.matrices) + len(one.weights)))  # not zero: its weights rest
        return None, None, None, None, None, *found


def _all_laid_out(species: Sequence[Species], threads: int) -> List[Packed]:
    packed: List[Optional[Packed]] = [None] * len(species)

    def work(share: int) -> None:
        for c in range(share, len(species), threads):
            packed[c] = laid_out(species[c])

    shared_threads().run(work, threads)
    return cast(List[Packed], packed)


def _room(packed: Packed, n: int) -> Room:
    """Room for what is kept of n atoms."""
    layers, mixing, dtype = packed.net.layers, packed.mixing, packed.net.weights.dtype
    rows, around = int(capacity(n)), sum(int(capacity(n * order[kernels.HARMONICS])) for order in mixing.orders)
    stride_in = int(whole(layers[0, kernels.N_IN])) if len(layers) else len(packed.net.output)
    stride = max((int(whole(layer[kernels.N_OUT])) for layer in layers), default=stride_in)

    def room(*shape: int) -> np.ndarray:
        return np.empty(shape, dtype)

    p, p_dot = (room(around * int(whole(mixing.length))) for _ in range(2))
    a, a_dot, g_a, r_a = (room(around * mixing.stride) for _ in range(4))
    x, x_dot, g_x, r_x = (room(rows * stride_in) for _ in range(4))
    results, results_dot, u, y, slope, g, g_u, r_u = (room(len(layers), rows * stride) for _ in range(8))
    return Room(kernels.Surroundings(p, p_dot, a, a_dot, g_a, r_a),
                kernels.Kept(x, x_dot, g_x, r_x, results, results_dot, u, y, slope, g, g_u, r_u, stride_in, stride))


def _add_matrix_bars(packed: List[Packed], every: List[Group], rooms: List[Room], bars: List[np.ndarray], share: int,
                     threads: int) -> None:
    """Derivatives by some rows of each matrix, from all atoms."""
    for (c, atoms), room in zip(every, rooms, strict=True):
        for k, layer in enumerate(packed[c].net.layers):
            quads = int(four(layer[kernels.N_IN])) // 4
            first, last = (4 * (quads * part // threads) for part in (share, share + 1))
            kernels.add_matrix_bars(packed[c].net, k, len(atoms), room.kept, first, last, bars[c])
