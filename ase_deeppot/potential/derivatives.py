"""Forces and virials from the derivative of the energy with respect to the pair vectors."""

import torch
from torch import Tensor


def forces(gradient: Tensor, i: Tensor, j: Tensor, n_atoms: int) -> Tensor:
    """``F_k = sum_(pairs from k) dE/dv - sum_(pairs to k) dE/dv``, since ``v_ij = r_j - r_i``.

    Parameters
    ----------
    gradient : Tensor, [E, 3]
        dE/dv, eV/A.
    i, j : Tensor, [E]
        Centre and neighbour of each pair.

    Returns
    -------
    Tensor, [n_atoms, 3], eV/A
    """
    zero = torch.zeros(n_atoms, 3, dtype=gradient.dtype, device=gradient.device)
    return zero.index_add(0, i, gradient).index_add(0, j, -gradient)


def virials(gradient: Tensor, vectors: Tensor, group: Tensor, n_groups: int) -> Tensor:
    """``W = -sum v (x) dE/dv = -dE/dstrain``, summed over the pairs of each group.

    With ``group = j`` these are the atomic virials that make the heat current right (the energy of the centre
    does work on the neighbour); with the frame of each pair, the virials of the frames. ``stress = -W / V``.

    Returns
    -------
    Tensor, [n_groups, 3, 3], eV
    """
    pairs = -(vectors[:, :, None] * gradient[:, None, :]).flatten(1)  # [E, 9]
    zero = torch.zeros(n_groups, 9, dtype=pairs.dtype, device=pairs.device)
    return zero.index_add(0, group, pairs).view(-1, 3, 3)
