"""Run a model on one structure: arrays in, energies, forces and virials out, in bounded memory."""

import functools
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Callable, Iterator, NamedTuple, Optional, Tuple

import numpy as np
import torch

from ase_deeppot.neighbors import Pairs
from ase_deeppot.potential.archive import Model, as_written
from ase_deeppot.potential.derivatives import forces, virials

PAIRS_PER_CHUNK = 32_768  # some hundred atoms: their descriptors stay near the processor
PAIRS_PER_THREAD = 8_192  # fewer are done before a thread has started


class Prediction(NamedTuple):
    """What a model says of one structure."""

    energies: np.ndarray  # [N] float64, eV, of each atom
    forces: np.ndarray  # [N, 3] float64, eV/A
    virials: np.ndarray  # [N, 3, 3] float64, eV, of each atom; their sum is -dE/dstrain


def symmetric(virials: np.ndarray) -> np.ndarray:
    """Symmetric part of virials [..., 3, 3]; invariance makes it all of a total virial, to rounding."""
    return 0.5 * (virials + virials.swapaxes(-1, -2))


class Chunk(NamedTuple):
    """Some of the atoms and all of their pairs."""

    atoms: slice
    rows: slice
    first: np.ndarray  # [n + 1] int64, first pair of each atom, counted within the chunk
    types: np.ndarray  # [n] int64
    types_j: np.ndarray  # [e] int64
    vectors: np.ndarray  # [e, 3]


@torch.inference_mode(False)
def evaluate(model: Model, types: np.ndarray, pairs: Pairs, pairs_per_chunk: int = PAIRS_PER_CHUNK,
             fused: Optional[bool] = None) -> Prediction:
    """Energies, forces and virials of a structure.

    Parameters
    ----------
    model : Model
        Eager or scripted.
    types : ndarray, [N] int64
        Species, indices into the model's type map.
    pairs : Pairs
        Within the model's cutoff, ascending in ``i``.
    pairs_per_chunk : int
        Atoms are taken in groups of about so many pairs, which bounds the memory.
    fused : bool, optional
        Run the loops over pairs in compiled kernels; by default where numba is installed and the model is on the CPU.
    """
    device = next(model.module.parameters()).device
    if fused is None:
        fused = device.type == "cpu" and compiled_kernels() is not None
    evaluate_chunk = _evaluate_fused if fused else _evaluate_torch
    energies, gradient = np.empty(len(types)), np.empty_like(pairs.vectors)
    with torch.enable_grad(), as_written():
        for chunk in _chunks(types, pairs, pairs_per_chunk):
            energies[chunk.atoms], gradient[chunk.rows] = evaluate_chunk(model, chunk, device)
    return Prediction(energies, *(_collect_fused if fused else _collect_torch)(len(types), pairs, gradient))


@functools.cache
def compiled_kernels() -> Optional[ModuleType]:
    """The compiled loops over pairs, None without numba."""
    try:
        from ase_deeppot.potential import kernels
    except ImportError:
        return None
    return kernels


def _chunks(types: np.ndarray, pairs: Pairs, pairs_per_chunk: int) -> Iterator[Chunk]:
    """All atoms, in groups that are as large as allowed."""
    n_atoms, types_j = len(types), types[pairs.j]
    first = np.searchsorted(pairs.i, np.arange(n_atoms + 1))
    start = 0
    while start < n_atoms:
        limit = first[start] + pairs_per_chunk
        stop = max(start + 1, int(np.searchsorted(first, limit, side="right")) - 1)
        atoms, rows = slice(start, stop), slice(int(first[start]), int(first[stop]))
        yield Chunk(atoms, rows, first[start : stop + 1] - first[start], types[atoms], types_j[rows],
                    pairs.vectors[rows])
        start = stop


def _evaluate_torch(model: Model, chunk: Chunk, device: torch.device) -> Tuple[np.ndarray, np.ndarray]:
    """Everything in torch: any device."""
    i = np.repeat(np.arange(len(chunk.types)), np.diff(chunk.first))
    arguments = (torch.from_numpy(array).to(device) for array in (chunk.types, i, chunk.types_j, chunk.vectors))
    energies, gradient = model.module(*arguments)
    return energies.detach().cpu().numpy(), gradient.detach().cpu().numpy()


def _evaluate_fused(model: Model, chunk: Chunk, device: torch.device) -> Tuple[np.ndarray, np.ndarray]:
    """The loops over pairs in compiled kernels, the nets in torch."""
    kernels, config = compiled_kernels(), model.card.config
    assert kernels is not None
    order, n_types = config.descriptor.order, len(config.type_map)
    shape = (float(model.module.descriptor.s_max), config.descriptor.rcut_smth, config.rcut)  # type: ignore[union-attr,arg-type]
    p = np.empty((len(chunk.types), n_types, order, 4), np.dtype(config.precision))
    gradient = np.empty_like(chunk.vectors)
    _in_threads(kernels.moments, chunk, shape, p, None)
    energies, k = model.module.respond(torch.from_numpy(chunk.types), torch.from_numpy(p))  # type: ignore[operator]
    _in_threads(kernels.pair_gradient, chunk, shape, k.detach().numpy(), gradient)
    return energies.detach().numpy(), gradient


def _collect_torch(n: int, pairs: Pairs, gradient: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    g, v, i, j = map(torch.from_numpy, (gradient, pairs.vectors, pairs.i, pairs.j))
    return forces(g, i, j, n).numpy(), virials(g, v, j, n).numpy()


def _collect_fused(n: int, pairs: Pairs, gradient: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    kernels = compiled_kernels()
    assert kernels is not None
    force, virial = np.zeros((n, 3)), np.zeros((n, 3, 3))
    kernels.forces_and_virials(pairs.i, pairs.j, pairs.vectors, gradient, force, virial)
    return force, virial


def _in_threads(kernel: Callable[..., None], chunk: Chunk, shape: Tuple[float, float, float], moments: np.ndarray,
                gradient: Optional[np.ndarray]) -> None:
    """Call a kernel on equal shares of the atoms, a thread each; kernels write to their own atoms only."""
    threads = min(torch.get_num_threads(), 1 + len(chunk.types_j) // PAIRS_PER_THREAD)
    bounds = [len(chunk.types) * share // threads for share in range(threads + 1)]
    outputs = () if gradient is None else (gradient,)

    def run(share: int) -> None:
        low, high = bounds[share], bounds[share + 1]
        kernel(chunk.first[low : high + 1], chunk.types_j, chunk.vectors, shape, moments[low:high], *outputs)

    if threads == 1:
        run(0)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(run, range(threads)))
