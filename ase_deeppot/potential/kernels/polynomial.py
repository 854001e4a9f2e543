"""Cubic polynomials of a row of numbers and their derivatives, as ``polynomial.Polynomial``: only terms that are there.
"""

from typing import NamedTuple

import numpy as np

from ase_deeppot.potential.kernels.compilation import compiled
from ase_deeppot.potential.kernels.layout import Array

FIRST, SECOND, BEGIN, START, LENGTH = range(5)  # columns of the table of runs: a, b, first c, and its place in weights


class Terms(NamedTuple):
    """``w_abc z_a z_b z_c``, a run of c for each pair (a, b)."""

    runs: Array  # [R, 5] int64
    weights: Array  # [M]
    inputs: int  # k, numbers in a row; z_0 is 1


@compiled
def polynomials(terms: Terms, y: Array, stride: int, rows: int, energies: Array, bias: float) -> None:
    """Fill the energies [n <= rows], and put the derivatives by a row in its place."""
    k = terms.inputs
    z, g = np.empty(k + 1, y.dtype), np.empty(k + 1, y.dtype)
    for i in range(rows):
        row = y[i * stride : (i + 1) * stride]
        z[0] = 1
        for c in range(k):
            z[c + 1] = row[c]
        g[:] = 0
        if i < len(energies):
            energies[i] = _polynomial(terms, z, g) + bias
        row[:] = 0
        for c in range(k):
            row[c] = g[c + 1]


@compiled
def _polynomial(terms: Terms, z: Array, g: Array) -> float:
    """The value, and the derivatives are added to g."""
    total = 0.0
    for r in range(len(terms.runs)):
        run = terms.runs[r]
        first, second = z[run[FIRST]], z[run[SECOND]]
        both, of_run = first * second, z.dtype.type(0)
        weights = terms.weights[run[START] : run[START] + run[LENGTH]]
        inputs, bars = z[run[BEGIN] : run[BEGIN] + run[LENGTH]], g[run[BEGIN] : run[BEGIN] + run[LENGTH]]
        for c in range(len(weights)):
            of_run += weights[c] * inputs[c]
            bars[c] += both * weights[c]
        g[run[FIRST]] += second * of_run
        g[run[SECOND]] += first * of_run
        total += both * of_run
    return total
