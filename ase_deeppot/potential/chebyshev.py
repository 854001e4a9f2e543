"""Chebyshev series: a smooth function of one number, from its values at a few nodes."""

import math
from typing import List, Tuple

import torch
from torch import Tensor


def nodes(order: int) -> Tensor:
    """Zeros ``x_k = cos(pi (k + 1/2) / L)`` of T_L, [L] float64."""
    return torch.cos(math.pi * (torch.arange(order, dtype=torch.float64) + 0.5) / order)


def transform(order: int) -> Tensor:
    """Matrix [L, L] float64 from the values at the nodes to the coefficients of ``sum_l c_l T_l(x)``."""
    degree = torch.arange(order, dtype=torch.float64)
    matrix = torch.cos(degree[:, None] * math.pi * (degree[None, :] + 0.5) / order) * (2.0 / max(1, order))
    matrix[:1] *= 0.5  # which a series of no terms has not
    return matrix


def polynomials(x: Tensor, order: int) -> Tuple[Tensor, Tensor]:
    """``T_l(x)`` and ``T_l'(x)`` for l < L, each [..., L, h] for x [..., h].

    ``T_(l+1) = 2 x T_l - T_(l-1)`` and its derivative. Beyond x = 1 they go on as straight lines, so that a
    function given by a series stays tame, with a continuous slope, outside the range it was made for.
    """
    inside = x.clamp(max=1.0)
    twice = 2.0 * inside
    values: List[Tensor] = [torch.ones_like(x), inside]
    slopes: List[Tensor] = [torch.zeros_like(x), torch.ones_like(x)]
    for _ in range(order - 2):
        slopes.append(2.0 * values[-1] + twice * slopes[-1] - slopes[-2])
        values.append(twice * values[-1] - values[-2])
    slope = torch.stack(slopes, dim=-2)
    return torch.stack(values, dim=-2) + slope * (x - inside).unsqueeze(-2), slope
