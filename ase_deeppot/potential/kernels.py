"""The loops over pairs, fused and compiled with numba: the sums of ``moments`` and their transpose.

Used where numba is installed and the model runs on the CPU; ``moments`` says what is computed. An atom's neighbours of
one species are gathered into short arrays, and every degree of the recursion runs over all of them, which the
compiler turns into vector instructions.
"""

import numpy as np
from numba import njit

Array = np.ndarray
Shape = tuple[float, float, float]  # s_max (1/A), rcut_smth, rcut (A)
FAST = {"reassoc", "contract", "nsz", "arcp"}  # nothing is assumed finite: NaN must come through


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _gather(t: int, begin: int, end: int, types_j: Array, vectors: Array, shape: Shape, work: Array,
            where: Array) -> int:
    """Radial and angular numbers of the neighbours of species t; returns how many there are."""
    s_max, rcut_smth, rcut = shape
    width = rcut - rcut_smth
    n = 0
    for e in range(begin, end):
        if types_j[e] == t:
            vx, vy, vz = vectors[e, 0], vectors[e, 1], vectors[e, 2]
            inverse = 1.0 / np.sqrt(vx * vx + vy * vy + vz * vz)
            q = min(max((1.0 / inverse - rcut_smth) / width, 0.0), 1.0)
            s = (q * q * q * (q * (15.0 - 6.0 * q) - 10.0) + 1.0) * inverse
            x = 2.0 / s_max * s - 1.0
            work[0, n] = s
            work[1, n] = (-30.0 / width * (q * (1.0 - q)) ** 2 - s) * inverse
            work[2, n] = min(x, 1.0)
            work[3, n] = max(x - 1.0, 0.0)
            work[4, n] = inverse
            work[5, n], work[6, n], work[7, n] = vx * inverse, vy * inverse, vz * inverse
            where[n] = e
            n += 1
    return n


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _sum_moments(n: int, work: Array, rec: Array, out: Array) -> None:
    """Moments [L, 4] of n gathered neighbours."""
    s, x, beyond, ux, uy, uz = work[0], work[2], work[3], work[5], work[6], work[7]
    now, before, slope, slope_before = rec[0], rec[1], rec[2], rec[3]
    outside = False
    for e in range(n):
        now[e] = s[e]
        before[e] = s[e] * x[e]  # T_(-1) = T_1
        slope[e] = 0
        slope_before[e] = s[e]
        outside |= beyond[e] > 0
    for degree in range(out.shape[0]):
        p0 = p1 = p2 = p3 = out.dtype.type(0)
        if outside:
            for e in range(n):
                b = now[e] + slope[e] * beyond[e]
                p0 += b
                p1 += b * ux[e]
                p2 += b * uy[e]
                p3 += b * uz[e]
                new = 2 * now[e] + 2 * x[e] * slope[e] - slope_before[e]
                slope_before[e] = slope[e]
                slope[e] = new
                new = 2 * x[e] * now[e] - before[e]
                before[e] = now[e]
                now[e] = new
        else:
            for e in range(n):
                b = now[e]
                p0 += b
                p1 += b * ux[e]
                p2 += b * uy[e]
                p3 += b * uz[e]
                now[e] = 2 * x[e] * b - before[e]
                before[e] = b
        out[degree, 0], out[degree, 1], out[degree, 2], out[degree, 3] = p0, p1, p2, p3


@njit(cache=True, error_model="numpy", fastmath=FAST, nogil=True)
def moments(first: Array, types_j: Array, vectors: Array, shape: Shape, p: Array) -> None:
    """Fill P [N, T, L, 4]; the pairs of centre i are rows ``first[i]:first[i + 1]``."""
    height = np.max(first[1:] - first[:-1])
    work, rec, where = np.empty((8, height), p.dtype), np.empty((4, height), p.dtype), np.empty(height, np.int64)
    for i in range(p.shape[0]):
        for t in range(p.shape[1]):
            n = _gather(t, first[i], first[i + 1], types_j, vectors, shape, work, where)
            _sum_moments(n, work, rec, p[i, t])


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _gradient(n: int, work: Array, rec: Array, k: Array, s_max: float, where: Array, out: Array) -> None:
    """dE/dv of n gathered neighbours from K [L, 4], into their rows of ``out``."""
    s, ds, x, beyond, inverse, ux, uy, uz = work[0], work[1], work[2], work[3], work[4], work[5], work[6], work[7]
    t, t_before, d, d_before, along, gx, gy, gz = rec[0], rec[1], rec[2], rec[3], rec[4], rec[5], rec[6], rec[7]
    for e in range(n):
        t[e] = 1
        t_before[e] = x[e]
        d[e] = 0
        d_before[e] = 1
        along[e] = gx[e] = gy[e] = gz[e] = 0
    scale = x.dtype.type(2 / s_max)
    for degree in range(k.shape[0]):
        k0, k1, k2, k3 = k[degree, 0], k[degree, 1], k[degree, 2], k[degree, 3]
        for e in range(n):
            value = t[e] + d[e] * beyond[e]
            along[e] += (value + scale * s[e] * d[e]) * (k0 + k1 * ux[e] + k2 * uy[e] + k3 * uz[e])
            gx[e] += value * k1
            gy[e] += value * k2
            gz[e] += value * k3
            new = 2 * t[e] + 2 * x[e] * d[e] - d_before[e]
            d_before[e] = d[e]
            d[e] = new
            new = 2 * x[e] * t[e] - t_before[e]
            t_before[e] = t[e]
            t[e] = new
    for e in range(n):
        a, b = along[e] * ds[e], s[e] * inverse[e]
        radial = a - b * (gx[e] * ux[e] + gy[e] * uy[e] + gz[e] * uz[e])
        out[where[e], 0] = radial * ux[e] + b * gx[e]
        out[where[e], 1] = radial * uy[e] + b * gy[e]
        out[where[e], 2] = radial * uz[e] + b * gz[e]


@njit(cache=True, error_model="numpy", fastmath=FAST, nogil=True)
def pair_gradient(first: Array, types_j: Array, vectors: Array, shape: Shape, k: Array, out: Array) -> None:
    """Fill dE/dv [E, 3] from K = dE/dP [N, T, L, 4]."""
    height = np.max(first[1:] - first[:-1])
    work, rec, where = np.empty((8, height), k.dtype), np.empty((8, height), k.dtype), np.empty(height, np.int64)
    for i in range(k.shape[0]):
        for t in range(k.shape[1]):
            n = _gather(t, first[i], first[i + 1], types_j, vectors, shape, work, where)
            _gradient(n, work, rec, k[i, t], shape[0], where, out)


@njit(cache=True, error_model="numpy", fastmath=FAST, nogil=True)
def forces_and_virials(i: Array, j: Array, vectors: Array, gradient: Array, forces: Array, virials: Array) -> None:
    """Add what each pair does to forces [N, 3] and atomic virials [N, 3, 3]: ``derivatives``, in one pass."""
    for e in range(i.shape[0]):
        for b in range(3):
            g = gradient[e, b]
            forces[i[e], b] += g
            forces[j[e], b] -= g
            for a in range(3):
                virials[j[e], a, b] -= vectors[e, a] * g
