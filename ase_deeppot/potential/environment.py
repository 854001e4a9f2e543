"""The surroundings of an atom as the rows of its environment matrix (DeepPot-SE)."""

import torch
from torch import Tensor


def switching_function(r: Tensor, rcut_smth: float, rcut: float) -> Tensor:
    """Weight of a neighbour at distance ``r``: 1 below ``rcut_smth``, 0 beyond ``rcut``, twice differentiable.

    ``w = u^3 (-6 u^2 + 15 u - 10) + 1`` with ``u = (r - rcut_smth) / (rcut - rcut_smth)`` clamped to [0, 1].
    """
    u = ((r - rcut_smth) / (rcut - rcut_smth)).clamp(0.0, 1.0)
    return u * u * u * (u * (15.0 - 6.0 * u) - 10.0) + 1.0


def environment_rows(vectors: Tensor, rcut_smth: float, rcut: float) -> Tensor:
    """Rows ``s(r) (1, x/r, y/r, z/r)`` of the environment matrix, with ``s(r) = w(r) / r``.

    Parameters
    ----------
    vectors : Tensor, [E, 3]
        From each centre to its neighbour, A.

    Returns
    -------
    Tensor, [E, 4], 1/A
    """
    r = torch.linalg.vector_norm(vectors, dim=1)  # [E]
    s = switching_function(r, rcut_smth, rcut) / r  # [E]
    return torch.cat([s[:, None], (s / r)[:, None] * vectors], dim=1)
