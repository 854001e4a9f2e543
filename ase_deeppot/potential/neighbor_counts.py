"""How many neighbours atoms have."""

from typing import Any, Optional

import numpy as np
import torch


def neighbor_counts(types: np.ndarray, pairs: Any, n_types: int, cutoff: Optional[float] = None) -> np.ndarray:
    """Neighbours of each species, [N, T] int64, of atoms of these types [N], counted where the pairs are.

    Parameters
    ----------
    pairs : Pairs
        Arrays, or on a device.
    cutoff : float, optional
        Only of pairs that are closer, in A.
    """
    i, j = torch.as_tensor(pairs.i), torch.as_tensor(pairs.j)
    if cutoff is not None:
        near = torch.linalg.vector_norm(torch.as_tensor(pairs.vectors), dim=1) < cutoff
        i, j = i[near], j[near]
    of_atoms = torch.from_numpy(types).to(i.device)
    counts = torch.bincount(i.long() * n_types + of_atoms.index_select(0, j), minlength=len(types) * n_types)
    return counts.view(-1, n_types).cpu().numpy()
