"""How a block of neighbours lies in memory."""

import numpy as np

from ase_deeppot.potential.kernels.compilation import compiled

Array = np.ndarray
Shape = tuple[float, float, float, float]  # s_max (1/A), b, rcut_smth, rcut (A), as in `Basis`

LANES = 16  # the filled part of a row has a multiple of this length
WIDTH = 96  # neighbours in a block
U = np.uint64
# Rows of a block of values: s, ds/dr, twice x (at most 1), x - 1 where that is positive, 1/r, harmonics Y_0, Y_1, ...
S, SLOPE, TWICE_X, BEYOND, INVERSE, Y = (U(row * WIDTH) for row in range(6))
UX, UY, UZ = (Y + U(row * WIDTH) for row in range(1, 4))
NOW, NEXT = U(0), U(WIDTH)  # rows of a room for sums: T_k, T_(k+1)
TOGETHER = 4  # harmonics that a loop takes at a time


@compiled
def rows(l_max: int) -> int:
    """H, rows of harmonics, some of them zero: as many as loops take."""
    return -(-((l_max + 1) ** 2) // TOGETHER) * TOGETHER


@compiled
def stride(l_max: int) -> np.uint64:
    """Values of a block."""
    return Y + U(rows(l_max) * WIDTH)


@compiled
def filled(n: int) -> np.uint64:
    return U((n + LANES - 1) // LANES * LANES)
