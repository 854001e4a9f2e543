"""Run a model on one structure: arrays in, energies, forces and virials out, in bounded memory."""

from typing import Iterator, NamedTuple, Tuple

import numpy as np
import torch
from torch import Tensor

from ase_deeppot.neighbors import Pairs
from ase_deeppot.potential.archive import Model
from ase_deeppot.potential.derivatives import forces, virials

PAIRS_PER_CHUNK = 32_768  # about 0.3 GB in the nets of the default model in float64


class Prediction(NamedTuple):
    """What a model says of one structure."""

    energies: np.ndarray  # [N] float64, eV, of each atom
    forces: np.ndarray  # [N, 3] float64, eV/A
    virials: np.ndarray  # [N, 3, 3] float64, eV, of each atom; their sum is -dE/dstrain


@torch.inference_mode(False)
def evaluate(model: Model, types: np.ndarray, pairs: Pairs, pairs_per_chunk: int = PAIRS_PER_CHUNK) -> Prediction:
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
    """
    device = next(model.module.parameters()).device
    all_types, i, j = (torch.from_numpy(array).to(device) for array in (types, pairs.i, pairs.j))
    vectors = torch.from_numpy(pairs.vectors).to(device)
    chunks = list(_chunks(np.searchsorted(pairs.i, np.arange(len(types) + 1)), pairs_per_chunk))
    with torch.enable_grad():
        parts = [_evaluate_chunk(model, all_types, i, j, vectors, atoms, rows) for atoms, rows in chunks]
    energies = torch.cat([energies for energies, _ in parts])
    gradient = torch.cat([gradient for _, gradient in parts])
    return Prediction(
        energies.cpu().numpy(),
        forces(gradient, i, j, len(types)).cpu().numpy(),
        virials(gradient, vectors, j, len(types)).cpu().numpy(),
    )


def _chunks(first_pair: np.ndarray, pairs_per_chunk: int) -> Iterator[Tuple[slice, slice]]:
    """Ranges of atoms, with the ranges of their pairs; at least one range."""
    n_atoms = len(first_pair) - 1
    start = 0
    while True:
        limit = first_pair[start] + pairs_per_chunk
        stop = min(n_atoms, max(start + 1, int(np.searchsorted(first_pair, limit, side="right")) - 1))
        yield slice(start, stop), slice(int(first_pair[start]), int(first_pair[stop]))
        if stop == n_atoms:
            return
        start = stop


def _evaluate_chunk(model: Model, types: Tensor, i: Tensor, j: Tensor, vectors: Tensor, atoms: slice,
                    rows: slice) -> Tuple[Tensor, Tensor]:
    energies, gradient = model.module(types[atoms], i[rows] - atoms.start, types[j[rows]], vectors[rows])
    return energies.detach(), gradient.detach()
