"""Moments of the environment: all that the pairs do, and its transpose.

    B_k(r)     = s(r) T_k(x(s)),  x = 2 (1 + b) s / (s_max + b s) - 1,  k < L
    P_i,a,t,k  = sum_(j of type t) B_k(r_ij) Y_a(u_ij),  a < Y = (l_max + 1)^2

with the real harmonics Y_a of the directions, (1, u_x, u_y, u_z) and then those of higher orders. A model is a function
of the moments P; its derivative K = dE/dP gives that with respect to each pair vector,

    dE/dv = sum_ak K_ak d(B_k Y_a)/dv.
"""

from typing import List, NamedTuple, Tuple

import torch
from torch import Tensor

from ase_deeppot.potential.chebyshev import polynomials
from ase_deeppot.potential.environment import radial_weight
from ase_deeppot.potential.harmonics import harmonics, harmonics_backward


class Block(NamedTuple):
    """Neighbours of one species, a row of equal length for each centre; the empty slots are beyond the cutoff."""

    pairs: Tensor  # [E_t] int64, which pairs
    slots: Tensor  # [E_t] int64, where each of them is in the [N, h] slots
    directions: Tensor  # [N, h, 3], u
    angular: Tensor  # [N, h, Y], Y_a(u)
    inverse: Tensor  # [N, h], 1/r, 1/A
    basis: Tensor  # [N, L, h], B_k
    slopes: Tensor  # [N, L, h], dB_k/dr


class Basis(NamedTuple):
    """The functions of a pair's vector that are summed."""

    order: int  # L
    s_max: float  # 1/A, upper end of the series' range
    bend: float  # b; 0 for x proportional to s + const, larger for more of the range of x at small s
    rcut_smth: float  # A
    rcut: float  # A
    l_max: int = 1  # highest angular order


def argument(s: Tensor, s_max: float, bend: float) -> Tuple[Tensor, Tensor]:
    """``x = 2 (1 + b) s / (s_max + b s) - 1`` and ``s dx/ds``."""
    share = 1.0 / (1.0 + (bend / s_max) * s)
    above = (2.0 * (1.0 + bend) / s_max) * s * share  # x + 1
    return above - 1.0, above * share


def blocks(basis: Basis, n: int, n_types: int, i: Tensor, types_j: Tensor, vectors: Tensor,
           dtype: torch.dtype) -> List[Block]:
    """Sort the pairs of n centres by the species of the neighbour, and evaluate the radial functions."""
    order = torch.argsort(types_j, stable=True)
    sizes: List[int] = torch.bincount(types_j, minlength=n_types).tolist()
    result: List[Block] = []
    start = 0
    for size in sizes:
        pairs = order[start : start + size]
        result.append(block(basis, n, pairs, i[pairs], vectors[pairs], dtype))
        start += size
    return result


def block(basis: Basis, n: int, pairs: Tensor, i: Tensor, vectors: Tensor, dtype: torch.dtype) -> Block:
    """Neighbours of one species; ``i`` ascends."""
    counts = torch.bincount(i, minlength=n)
    height = int(counts.max()) if n > 0 else 0
    first = torch.cumsum(counts, 0) - counts
    slots = i * height + torch.arange(i.shape[0], device=i.device) - first[i]
    padded = torch.full((n * height, 3), 2.0 * basis.rcut, dtype=vectors.dtype, device=i.device)
    v = padded.index_copy(0, slots, vectors).view(n, height, 3)
    r = torch.linalg.vector_norm(v, dim=2)
    s, ds = radial_weight(r, basis.rcut_smth, basis.rcut)
    s, ds = s.to(dtype).unsqueeze(1), ds.to(dtype).unsqueeze(1)
    x, slope = argument(s[:, 0], basis.s_max, basis.bend)
    t, dt = polynomials(x, basis.order)
    u = (v / r.unsqueeze(2)).to(dtype)
    angular = harmonics(u, basis.l_max)
    return Block(pairs, slots, u, angular, (1.0 / r).to(dtype), s * t, (t + slope.unsqueeze(1) * dt) * ds)


def moments(parts: List[Block]) -> Tensor:
    """P, [N, Y, T, L]."""
    return torch.stack([torch.bmm(part.basis, part.angular).transpose(1, 2) for part in parts], dim=2)


def pair_gradient(parts: List[Block], k: Tensor, n_pairs: int) -> Tensor:
    """dE/dv of each pair, [E, 3] float64, from K = dE/dP [N, Y, T, L]."""
    result = torch.zeros(n_pairs, 3, dtype=torch.float64, device=k.device)
    for t, part in enumerate(parts):
        k_t = k[:, :, t].transpose(1, 2)  # [N, L, Y]
        along = (torch.bmm(part.slopes.transpose(1, 2), k_t) * part.angular).sum(2, keepdim=True)  # dE/dr
        u = part.directions
        turn = harmonics_backward(u, torch.bmm(part.basis.transpose(1, 2), k_t))  # dE/du
        across = (turn - (turn * u).sum(2, keepdim=True) * u) * part.inverse.unsqueeze(2)
        g = (along * u + across).view(-1, 3)[part.slots]
        result = result.index_copy(0, part.pairs, g.to(torch.float64))
    return result
