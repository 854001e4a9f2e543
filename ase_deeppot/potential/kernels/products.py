"""From moments to the input of the folded fitting net, and back: ``folded.FoldedSpecies`` in compiled loops."""

import numpy as np

from ase_deeppot.potential.kernels.blocks import Array, U, compiled
from ase_deeppot.potential.kernels.moments import DEGREES


@compiled
def products(p: Array, radial: Array, angular: Array, constant: Array, axis: int, y: Array, z: Array) -> None:
    """Fill y [n, 4, R] and z [n, K] from moments P [n, 4, T L].

    ``y_0 = P_0 radial + constant``, ``y_c = P_c angular``; z holds ``sum_c y_ca y_cr`` for a < axis, a <= r < R.
    """
    for i in range(p.shape[0]):
        y[i, 0] = constant
        y[i, 1:] = 0
        for c in range(4):
            _add_product(p[i, c], radial if c == 0 else angular, y[i, c])
        y0, y1, y2, y3, z_i = y[i, 0], y[i, 1], y[i, 2], y[i, 3], z[i]
        rank, start = U(y.shape[2]), U(0)
        for a in range(U(axis)):
            a0, a1, a2, a3 = y0[a], y1[a], y2[a], y3[a]
            for r in range(rank - a):
                z_i[start + r] = a0 * y0[a + r] + a1 * y1[a + r] + a2 * y2[a + r] + a3 * y3[a + r]
            start += rank - a


@compiled
def _add_product(x: Array, matrix: Array, y: Array) -> None:
    """y [N] += x [M] matrix [M, N], where M is a multiple of four."""
    for m in range(0, matrix.shape[0], DEGREES):
        xa, xb, xc, xd = x[m], x[m + 1], x[m + 2], x[m + 3]
        a, b, c, d = matrix[m], matrix[m + 1], matrix[m + 2], matrix[m + 3]
        for k in range(len(y)):
            y[k] += xa * a[k] + xb * b[k] + xc * c[k] + xd * d[k]


@compiled
def products_backward(y: Array, z_bar: Array, radial_t: Array, angular_t: Array, axis: int, k: Array) -> None:
    """Fill K = dE/dP [n, 4, T L] from dE/dz [n, K]; the matrices transposed and filled up, [R', T L]."""
    y_bar = np.zeros((4, radial_t.shape[0]), y.dtype)
    for i in range(y.shape[0]):
        y0, y1, y2, y3, z_i = y[i, 0], y[i, 1], y[i, 2], y[i, 3], z_bar[i]
        y_bar[:] = 0
        b0, b1, b2, b3 = y_bar[0], y_bar[1], y_bar[2], y_bar[3]
        rank, start = U(y.shape[2]), U(0)
        for a in range(U(axis)):
            s0 = s1 = s2 = s3 = y.dtype.type(0)
            for r in range(rank - a):
                g = z_i[start + r]
                s0 += g * y0[a + r]
                s1 += g * y1[a + r]
                s2 += g * y2[a + r]
                s3 += g * y3[a + r]
            for c in range(4):
                _add_scaled(y[i, c, a], z_i[start : start + rank - a], y_bar[c, a : a + rank - a])
            b0[a] += s0
            b1[a] += s1
            b2[a] += s2
            b3[a] += s3
            start += rank - a
        k[i] = 0
        for c in range(4):
            _add_product(y_bar[c], radial_t if c == 0 else angular_t, k[i, c])


@compiled
def _add_scaled(factor: float, x: Array, y: Array) -> None:
    for k in range(len(x)):
        y[k] += factor * x[k]
