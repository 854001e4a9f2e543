"""Kernel: from derivatives by forces and virials to those by K = dE/dP; the transpose of `forces`, for training.

With ``q = dL/d(dE/dv)`` of each pair, and its parts along the pair and across it,

    dL/dK_ak = sum_j [q_u s' Y_a (T_k + s T_k' dx/ds) + s/r T_k q_t . dY_a/du].
"""

import triton
import triton.language as tl
from torch import Tensor

from ase_deeppot.potential.moments import Basis
from ase_deeppot.potential.on_gpu.environments import Environments, net_type, range_of
from ase_deeppot.potential.on_gpu.geometry import argument, harmonics, harmonics_along, pair

PAIRS = 128  # at a time
WARPS = 1  # sums over pairs stay within one


def forces_backward(basis: Basis, structure: Environments, force_bar: Tensor, virial_bar: Tensor,
                    k_bar: Tensor) -> None:
    """Fill dL/dK [N, Y, T, L] from dL/dF [N, 3] and dL/dW [N, 3, 3], float64; all atoms are centres."""
    n, n_harmonics, n_types, order = k_bar.shape
    if n:
        _backward[(n, n_types)](*structure, range_of(basis, k_bar.device), force_bar, virial_bar, k_bar, order, n_types,
                                n_harmonics, triton.next_power_of_2(n_harmonics), PAIRS, net_type(k_bar.dtype),
                                num_warps=WARPS)


@triton.jit
def _pair_bar(vectors, e, neighbor, there, atom, force_bar, virial_bar, c: tl.constexpr):
    """Component c of ``q = dL/dF_i - dL/dF_j - v . dL/dW_j``."""
    value = tl.load(force_bar + 3 * atom + c) - tl.load(force_bar + 3 * neighbor + c, mask=there, other=0.0)
    for d in tl.static_range(3):
        w = tl.load(virial_bar + 9 * neighbor + 3 * d + c, mask=there, other=0.0)
        value -= tl.load(vectors + 3 * e + d, mask=there, other=0.0) * w
    return tl.where(there, value, 0.0)


@triton.jit
def _backward(first, j, types, vectors, limits, force_bar, virial_bar, k_bar, order, n_types, n: tl.constexpr,
              padded: tl.constexpr, pairs: tl.constexpr, net: tl.constexpr):
    s_max, bend, rcut_smth, rcut = tl.load(limits), tl.load(limits + 1), tl.load(limits + 2), tl.load(limits + 3)
    atom, t = tl.program_id(0).to(tl.int64), tl.program_id(1)
    begin, end = tl.load(first + atom), tl.load(first + atom + 1)
    rows = tl.arange(0, padded)
    out = k_bar + ((atom * n + rows) * n_types + t) * order
    for k in range(order):
        tl.store(out + k, tl.zeros((padded,), net), mask=rows < n)
    for start in range(begin, end, pairs):
        e = start + tl.arange(0, pairs)
        there = e < end
        neighbor = tl.load(j + e, mask=there, other=0).to(tl.int64)
        mine = there & (tl.load(types + neighbor) == t)
        _, s, ds, inverse, x, y, z = pair(vectors, e, mine, rcut_smth, rcut, net)
        qx = _pair_bar(vectors, e, neighbor, mine, atom, force_bar, virial_bar, 0).to(net)
        qy = _pair_bar(vectors, e, neighbor, mine, atom, force_bar, virial_bar, 1).to(net)
        qz = _pair_bar(vectors, e, neighbor, mine, atom, force_bar, virial_bar, 2).to(net)
        qu = qx * x + qy * y + qz * z
        tx, ty, tz = qx - qu * x, qy - qu * y, qz - qu * z
        along = (qu * ds)[None, :] * harmonics(x[None, :], y[None, :], z[None, :], rows[:, None], n)
        across = (s * inverse)[None, :] * harmonics_along(x[None, :], y[None, :], z[None, :], tx[None, :], ty[None, :],
                                                          tz[None, :], rows[:, None], n)
        place, slope = argument(s, s_max, bend)
        inside = tl.minimum(place, 1.0)
        beyond = place - inside
        before, now = tl.full((pairs,), 1.0, net), inside
        slope_before, slope_now = tl.zeros((pairs,), net), tl.full((pairs,), 1.0, net)
        for k in range(order):
            value = before + slope_before * beyond
            total = tl.sum((along + across) * value[None, :] + along * (slope * slope_before)[None, :], axis=1)
            tl.store(out + k, tl.load(out + k, mask=rows < n) + total, mask=rows < n)
            slope_before, slope_now = slope_now, 2.0 * now + 2.0 * inside * slope_now - slope_before
            before, now = now, 2.0 * inside * now - before
