"""What a model says of a structure."""

from typing import NamedTuple

import numpy as np


class Prediction(NamedTuple):
    """What a model says of one structure."""

    energies: np.ndarray  # [N] float64, eV, of each atom
    forces: np.ndarray  # [N, 3] float64, eV/A
    virials: np.ndarray  # [N, 3, 3] float64, eV, of each atom; their sum is -dE/dstrain
    closest: np.ndarray  # [T, T] float64, A, smallest distance between atoms of two species; inf without any


def symmetric(virials: np.ndarray) -> np.ndarray:
    """Symmetric part of virials [..., 3, 3]; invariance makes it all of a total virial, to rounding."""
    return 0.5 * (virials + virials.swapaxes(-1, -2))
