"""How many neighbours atoms have."""

from typing import Any, Optional

import numpy as np
import torch

from ase_deeppot.compiler import compilable


def neighbor_counts(types: np.ndarray, pairs: Any, n_types: int, cutoff: Optional[float] = None) -> np.ndarray:
    """Neighbours of each species, [N, T] int64, of atoms of these types [N], counted where the pairs are.

    Parameters
    ----------
    pairs : Pairs
        Arrays, or on a device.
    cutoff : float, optional
        Only of pairs that are closer, in A.
    """
    on_host = isinstance(pairs.i, np.ndarray)
    counts = (_counts if on_host else _counts_on_device)(types, pairs, n_types, cutoff)
    return counts.reshape(-1, n_types)


def _counts(types: np.ndarray, pairs: Any, n_types: int, cutoff: Optional[float]) -> np.ndarray:
    if cutoff is None and compilable():  # of each step of a dynamics
        from ase_deeppot.neighbors import kernels

        counts = np.zeros((len(types), n_types), np.int64)
        kernels.count(pairs.i, pairs.j, types, counts)
        return counts
    kinds = pairs.i * n_types + types[pairs.j]
    if cutoff is not None:
        kinds = kinds[np.linalg.norm(pairs.vectors, axis=1) < cutoff]
    return np.bincount(kinds, minlength=len(types) * n_types)


def _counts_on_device(types: np.ndarray, pairs: Any, n_types: int, cutoff: Optional[float]) -> np.ndarray:
    """The same in torch, which takes half as long again for some hundred atoms on a CPU."""
    kinds = pairs.i.long() * n_types + torch.from_numpy(types).to(pairs.i.device).index_select(0, pairs.j)
    if cutoff is not None:
        kinds = kinds[torch.linalg.vector_norm(pairs.vectors, dim=1) < cutoff]
    return torch.bincount(kinds, minlength=len(types) * n_types).cpu().numpy()
