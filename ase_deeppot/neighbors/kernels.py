"""Passes over candidates and pairs, compiled, for where numba is installed: the bits of `pairs`."""

import numpy as np
from numba import njit

Array = np.ndarray


@njit(cache=True, error_model="numpy", nogil=True)
def keep(i: Array, j: Array, shift: Array, positions: Array, offsets: Array, cutoff: float, kept_i: Array,
         kept_j: Array, vectors: Array, kept_shift: Array) -> int:
    """Move the candidates [C] that are closer than the cutoff to the front of the arrays [C]; returns their number.

    ``offsets`` [T, 3] are the vectors of the shifts. Sums are in the order of `pairs.within_cutoff`, nothing is fused.
    """
    n = 0
    for c in range(len(i)):
        a, b, s = i[c], j[c], shift[c]
        x = positions[b, 0] - positions[a, 0] + offsets[s, 0]
        y = positions[b, 1] - positions[a, 1] + offsets[s, 1]
        z = positions[b, 2] - positions[a, 2] + offsets[s, 2]
        kept_i[n], kept_j[n], kept_shift[n] = a, b, s
        vectors[n, 0], vectors[n, 1], vectors[n, 2] = x, y, z
        n += x * x + y * y + z * z < cutoff * cutoff
    return n


@njit(cache=True, error_model="numpy", nogil=True)
def count(i: Array, j: Array, types: Array, counts: Array) -> None:
    """Add the pairs [E] to the numbers of neighbours of each species, counts [N, T], of atoms of these types [N]."""
    for e in range(len(i)):
        counts[i[e], types[j[e]]] += 1
