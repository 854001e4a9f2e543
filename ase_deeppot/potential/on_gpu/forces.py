"""Kernel: from K = dE/dP to forces and virials, one program for each atom.

With ``B_a = sum_k K_ak T_k(x)`` and ``D_a = sum_k K_ak T_k'(x)``, the derivative of the energy with respect to a pair
vector is that along it, ``s' sum_a Y_a (B_a + s D_a dx/ds)``, and that across it, ``s sum_a B_a dY_a/du`` over r.
"""

import triton
import triton.language as tl
from torch import Tensor

from ase_deeppot.potential.moments import Basis
from ase_deeppot.potential.on_gpu.environments import Environments, net_type, range_of
from ase_deeppot.potential.on_gpu.geometry import argument, harmonics, harmonics_backward, pair

PAIRS = 32  # at a time
WARPS = 1


def add_forces(basis: Basis, structure: Environments, k: Tensor, start: int, forces: Tensor, virials: Tensor) -> None:
    """Add to forces [N, 3], eV/A, and virials [N, 3, 3], eV, of all atoms; the centres are those from ``start`` on."""
    n, n_harmonics, n_types, order = k.shape
    if n:
        _forces[(n,)](*structure, range_of(basis, k.device), k, forces, virials, start, order, n_types, n_harmonics,
                      triton.next_power_of_2(n_harmonics), PAIRS, net_type(k.dtype), num_warps=WARPS)


@triton.jit
def _forces(first, j, types, vectors, limits, k, forces, virials, start, order, n_types, n: tl.constexpr,
            padded: tl.constexpr, pairs: tl.constexpr, net: tl.constexpr):
    s_max, bend, rcut_smth, rcut = tl.load(limits), tl.load(limits + 1), tl.load(limits + 2), tl.load(limits + 3)
    atom = tl.program_id(0).to(tl.int64)
    begin, end = tl.load(first + atom), tl.load(first + atom + 1)
    rows = tl.arange(0, padded)[:, None]
    fx, fy, fz = (tl.zeros((pairs,), tl.float64), tl.zeros((pairs,), tl.float64), tl.zeros((pairs,), tl.float64))
    for at in range(begin, end, pairs):
        e = at + tl.arange(0, pairs)
        there = e < end
        neighbor = tl.load(j + e, mask=there, other=0).to(tl.int64)
        t = tl.load(types + neighbor)
        _, s, ds, inverse, x, y, z = pair(vectors, e, there, rcut_smth, rcut, net)
        place, slope = argument(s, s_max, bend)
        inside = tl.minimum(place, 1.0)
        beyond = (place - inside)[None, :]
        before, now = tl.full((pairs,), 1.0, net), inside
        slope_before, slope_now = tl.zeros((pairs,), net), tl.full((pairs,), 1.0, net)
        of_pair = k + ((atom * n + rows) * n_types + t[None, :]) * order
        b, d = tl.zeros((padded, pairs), net), tl.zeros((padded, pairs), net)
        for degree in range(order):
            of_degree = tl.load(of_pair + degree, mask=(rows < n) & there[None, :], other=0.0)
            b += of_degree * (before[None, :] + slope_before[None, :] * beyond)
            d += of_degree * slope_before[None, :]
            slope_before, slope_now = slope_now, 2.0 * now + 2.0 * inside * slope_now - slope_before
            before, now = now, 2.0 * inside * now - before
        along = ds * tl.sum(harmonics(x[None, :], y[None, :], z[None, :], rows, n)
                            * (b + slope[None, :] * d), axis=0)
        tx, ty, tz = harmonics_backward(x, y, z, b, rows, n)
        radial = along - s * inverse * (tx * x + ty * y + tz * z)
        gx = (radial * x + s * inverse * tx).to(tl.float64)
        gy = (radial * y + s * inverse * ty).to(tl.float64)
        gz = (radial * z + s * inverse * tz).to(tl.float64)
        gx, gy, gz = tl.where(there, gx, 0.0), tl.where(there, gy, 0.0), tl.where(there, gz, 0.0)
        fx, fy, fz = fx + gx, fy + gy, fz + gz
        tl.atomic_add(forces + 3 * neighbor, -gx, mask=there, sem="relaxed")
        tl.atomic_add(forces + 3 * neighbor + 1, -gy, mask=there, sem="relaxed")
        tl.atomic_add(forces + 3 * neighbor + 2, -gz, mask=there, sem="relaxed")
        virial = virials + 9 * neighbor
        for c in tl.static_range(3):
            component = -tl.load(vectors + 3 * e + c, mask=there, other=0.0)
            tl.atomic_add(virial + 3 * c, component * gx, mask=there, sem="relaxed")
            tl.atomic_add(virial + 3 * c + 1, component * gy, mask=there, sem="relaxed")
            tl.atomic_add(virial + 3 * c + 2, component * gz, mask=there, sem="relaxed")
    own = forces + 3 * (start + atom)
    tl.atomic_add(own, tl.sum(fx, axis=0), sem="relaxed")
    tl.atomic_add(own + 1, tl.sum(fy, axis=0), sem="relaxed")
    tl.atomic_add(own + 2, tl.sum(fz, axis=0), sem="relaxed")
