"""How much a neighbour counts: the radial part of the environment matrix (DeepPot-SE)."""

from typing import Tuple

from torch import Tensor


def switching_function(r: Tensor, rcut_smth: float, rcut: float) -> Tuple[Tensor, Tensor]:
    """Weight w of a neighbour at distance ``r``, and dw/dr (1/A).

    1 below ``rcut_smth``, 0 beyond ``rcut``, twice differentiable: ``w = u^3 (-6 u^2 + 15 u - 10) + 1`` with
    ``u = (r - rcut_smth) / (rcut - rcut_smth)`` clamped to [0, 1].
    """
    width = rcut - rcut_smth
    u = ((r - rcut_smth) / width).clamp(0.0, 1.0)
    return u * u * u * (u * (15.0 - 6.0 * u) - 10.0) + 1.0, (-30.0 / width) * (u * (1.0 - u)).square()


def radial_weight(r: Tensor, rcut_smth: float, rcut: float) -> Tuple[Tensor, Tensor]:
    """``s(r) = w(r) / r`` (1/A), the first column of the environment matrix, and ds/dr (1/A^2)."""
    w, dw = switching_function(r, rcut_smth, rcut)
    s = w / r
    return s, (dw - s) / r
