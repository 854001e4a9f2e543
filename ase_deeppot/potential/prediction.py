"""What a model says of a structure."""

from typing import NamedTuple

import numpy as np


class Deviation(NamedTuple):
    """How far several models are apart: root mean square distance from their mean."""

    energy: float  # eV, of the energy of all atoms
    forces: np.ndarray  # [N] eV/A, of the force on each atom


class Prediction(NamedTuple):
    """What a model says of one structure."""

    energies: np.ndarray  # [N] float64, eV, of each atom
    forces: np.ndarray  # [N, 3] float64, eV/A
    virials: np.ndarray  # [N, 3, 3] float64, eV, of each atom; their sum is -dE/dstrain
    closest: np.ndarray  # [T, T] float64, A, smallest distance between atoms of two species; inf without any


def symmetric(virials: np.ndarray) -> np.ndarray:
    """Symmetric part of virials [..., 3, 3]; invariance makes it all of a total virial, to rounding."""
    return 0.5 * (virials + virials.swapaxes(-1, -2))
