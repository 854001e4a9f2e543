"""Kernel: moments ``P_i,a,t,k = sum_(j of type t) s T_k(x) Y_a(u)``, one program for each atom and species t."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ase_deeppot.potential.moments import Basis
from ase_deeppot.potential.on_gpu.environments import Environments, net_type, range_of
from ase_deeppot.potential.on_gpu.geometry import argument, harmonics, pair

PAIRS = 128  # at a time
WARPS = 1  # sums over pairs stay within one


def moments(basis: Basis, n_types: int, structure: Environments, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """P [n, Y, T, L] of the centres, and the distance of the closest neighbour of each species [n, T], A."""
    n, n_harmonics, device = len(structure.first) - 1, (basis.l_max + 1) ** 2, structure.first.device
    p = torch.empty(n, n_harmonics, n_types, basis.order, dtype=dtype, device=device)
    closest = torch.empty(n, n_types, dtype=torch.float64, device=device)
    if n:
        _moments[(n, n_types)](*structure, range_of(basis, device), p, closest, basis.order, n_types, n_harmonics,
                               triton.next_power_of_2(n_harmonics), PAIRS, net_type(dtype), num_warps=WARPS)
    return p, closest


@triton.jit
def _moments(first, j, types, vectors, limits, p, closest, order, n_types, n: tl.constexpr, padded: tl.constexpr,
             pairs: tl.constexpr, net: tl.constexpr):
    s_max, bend, rcut_smth, rcut = tl.load(limits), tl.load(limits + 1), tl.load(limits + 2), tl.load(limits + 3)
    atom, t = tl.program_id(0).to(tl.int64), tl.program_id(1)
    begin, end = tl.load(first + atom), tl.load(first + atom + 1)
    rows = tl.arange(0, padded)
    out = p + ((atom * n + rows) * n_types + t) * order
    shortest = tl.full((pairs,), float("inf"), tl.float64)
    for k in range(order):
        tl.store(out + k, tl.zeros((padded,), net), mask=rows < n)
    for start in range(begin, end, pairs):
        e = start + tl.arange(0, pairs)
        there = e < end
        mine = there & (tl.load(types + tl.load(j + e, mask=there, other=0)) == t)
        r, s, _, _, x, y, z = pair(vectors, e, mine, rcut_smth, rcut, net)
        shortest = tl.minimum(shortest, tl.where(mine, r, float("inf")))
        weighted = s[None, :] * harmonics(x[None, :], y[None, :], z[None, :], rows[:, None], n)
        place, _ = argument(s, s_max, bend)
        inside = tl.minimum(place, 1.0)
        beyond = place - inside
        before, now = tl.full((pairs,), 1.0, net), inside
        for k in range(order):
            value = before + k * k * beyond  # T_k'(1) = k^2
            total = tl.sum(weighted * value[None, :], axis=1)
            tl.store(out + k, tl.load(out + k, mask=rows < n) + total, mask=rows < n)
            before, now = now, 2.0 * inside * now - before
    tl.store(closest + atom * n_types + t, tl.min(shortest, axis=0))
