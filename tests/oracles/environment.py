"""What a neighbour looks like: switching function, harmonics, moments."""

import math

import numpy as np
from numpy.polynomial import chebyshev


def switch(r, rcut_smth: float, rcut: float):
    """Weight w of a neighbour: s(r) = w(r)/r. May be complex, as all that follows: see `complex_step`."""
    if r.real < rcut_smth:
        return 1.0
    if r.real >= rcut:
        return 0.0
    u = (r - rcut_smth) / (rcut - rcut_smth)
    return -6 * u**5 + 15 * u**4 - 10 * u**3 + 1


def harmonics(u, l_max: int):
    """Real spherical harmonics of a unit vector, [(l_max + 1)^2], by the recursions for any order.

    ``Y_lm = N P_l^m(z) (Re or Im of (x + i y)^|m|)``, without the powers of sin(theta) that both would have.
    """
    x, y, z = u
    real, imag = [1.0], [0.0]
    for m in range(l_max):
        real.append(x * real[m] - y * imag[m])
        imag.append(y * real[m] + x * imag[m])
    values = []
    for l in range(l_max + 1):  # noqa: E741
        norms = [math.sqrt((2 if m else 1) * math.factorial(l - m) / math.factorial(l + m)) for m in range(l + 1)]
        legendre = [norms[m] * associated_legendre(l, m, z) for m in range(l + 1)]
        row = [legendre[m] * imag[m] for m in range(l, 0, -1)] + [legendre[m] * real[m] for m in range(l + 1)]
        values += [row[2], row[0], row[1]] if l == 1 else row  # order 1 is x, y, z
    return np.array(values)


def associated_legendre(l: int, m: int, z):  # noqa: E741
    """``P_l^m(z) / (1 - z^2)^(m/2)``, without the phase (-1)^m."""
    below, value = 0.0, float(math.prod(range(1, 2 * m, 2)))
    for k in range(m + 1, l + 1):
        below, value = value, ((2 * k - 1) * z * value - (k + m - 1) * below) / (k - m)
    return value


def environment_row(vector, rcut_smth, rcut, l_max=1):
    r = np.sqrt(np.sum(vector * vector))
    return switch(r, rcut_smth, rcut) / r * harmonics(vector / r, l_max)


def moments(n: int, n_types: int, i, types_j, vectors, order: int, s_max: float, bend: float, rcut_smth: float,
            rcut: float, l_max: int):
    """Moments of n environments, [n, Y, T, L]: sum of T_l(x) times the environment row, pair by pair.

    x is -1 at s = 0 and 1 at s_max; the bend says how much more of it there is at small s.

    Beyond s_max the polynomials go on as the tangents T_l(1 + d) = 1 + l^2 d.
    """
    p = np.zeros((n, (l_max + 1) ** 2, n_types, order), vectors.dtype)
    for centre, species, vector in zip(i, types_j, vectors, strict=True):
        row = environment_row(vector, rcut_smth, rcut, l_max)
        x = 2 * (1 + bend) * row[0] / (s_max + bend * row[0]) - 1
        tangents = 1 + np.arange(order) ** 2 * (x - 1)
        values = tangents if x.real > 1 else chebyshev.chebvander(x, order - 1).reshape(-1)
        p[centre, :, species] += np.outer(row, values)
    return p
