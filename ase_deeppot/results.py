"""What a model says of a structure, as ASE's results."""

import math
from typing import Any

import numpy as np
import torch
from ase.calculators.calculator import CalculationFailed
from ase.stress import full_3x3_to_voigt_6_stress

from ase_deeppot.neighbors import Pairs
from ase_deeppot.potential.prediction import Prediction, symmetric

DEVIATION = "forces_deviation"  # of several models, an array of Atoms


def check_finite(prediction: Prediction, pairs: Pairs) -> None:
    """Look for what cannot be integrated.

    Raises
    ------
    CalculationFailed
        If an energy or a force is not finite.
    """
    if math.isfinite(prediction.energies.sum() + prediction.forces.sum()):  # in sums, what is not finite stays so
        return
    if np.isfinite(prediction.energies).all() and np.isfinite(prediction.forces).all():
        return
    together = np.flatnonzero(~_on_host(pairs.vectors).any(axis=1))
    if len(together):
        i, j = (_on_host(part)[together[0]] for part in (pairs.i, pairs.j))
        raise CalculationFailed(f"atoms {i} and {j} are at the same place")
    atom = int(np.argmin(np.isfinite(prediction.forces).all(axis=1) & np.isfinite(prediction.energies)))
    raise CalculationFailed(f"expected finite energies and forces, got {prediction.energies[atom]} eV and "
                            f"{prediction.forces[atom]} eV/A for atom {atom}; it is far outside the training data")


def of_structure(prediction: Prediction, virial: np.ndarray, volume: float) -> dict[str, Any]:
    """ASE's results: plain float energy, tension positive; a stress where the cell has a volume, A^3."""
    energy = float(prediction.energies.sum())
    results: dict[str, Any] = {"energy": energy, "free_energy": energy, "energies": prediction.energies,
                               "forces": prediction.forces}
    return results | ({"stress": _voigt(virial, volume)} if volume > 0.0 else {})


def stresses(prediction: Prediction, volume: float) -> np.ndarray:
    """Of each atom, [N, 6], eV/A^3; seldom asked for, and as large as all the rest."""
    return _voigt(symmetric(prediction.virials), volume)


def _voigt(virials: np.ndarray, volume: float) -> np.ndarray:
    """Stresses of symmetric virials, eV/A^3, in Voigt's order."""
    return full_3x3_to_voigt_6_stress(virials / -volume).reshape(*virials.shape[:-2], 6)


def _on_host(part: np.ndarray | torch.Tensor) -> np.ndarray:
    return torch.as_tensor(part).cpu().numpy()
