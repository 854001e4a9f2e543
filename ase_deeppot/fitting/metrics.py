"""How far a model is from the labels: predictions for frames, and their errors."""

from typing import NamedTuple

import numpy as np

from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.frames import Frames
from ase_deeppot.potential.archive import Model
from ase_deeppot.potential.evaluation import evaluate


class Predictions(NamedTuple):
    """What a model says of each frame, laid out like the labels of :class:`Frames`."""

    energies: np.ndarray  # [F] eV
    forces: np.ndarray  # [sum N, 3] eV/A
    virials: np.ndarray  # [F, 3, 3] eV


class Parity(NamedTuple):
    """Labels and predictions of one property, where there are labels."""

    name: str
    unit: str
    label: np.ndarray  # [K]
    prediction: np.ndarray  # [K]

    @property
    def rmse(self) -> float:
        """Root mean square error; NaN without labels."""
        return float(np.sqrt(np.mean((self.prediction - self.label) ** 2))) if len(self.label) else float("nan")

    @property
    def mae(self) -> float:
        """Mean absolute error; NaN without labels."""
        return float(np.mean(np.abs(self.prediction - self.label))) if len(self.label) else float("nan")


def predict(model: Model, dataset: Dataset) -> Predictions:
    """Energies, forces and virials of all frames."""
    parts = [evaluate(model, dataset.types_of_frame(k), dataset.pairs(k)) for k in range(len(dataset))]
    return Predictions(
        np.array([part.energies.sum() for part in parts]),
        np.concatenate([part.forces for part in parts]),
        np.stack([symmetric(part.virials.sum(0)) for part in parts]),
    )


def symmetric(virial: np.ndarray) -> np.ndarray:
    """Symmetric part of a virial; exact invariance makes it all of it, to rounding."""
    return 0.5 * (virial + virial.T)


def parities(frames: Frames, predictions: Predictions) -> tuple[Parity, Parity, Parity]:
    """Energy per atom, force components and stress components (``-virial / V``), labels beside predictions."""
    sizes = np.diff(frames.offsets)
    volumes = np.abs(np.linalg.det(frames.cells))
    stressed = np.isfinite(frames.virials).all((1, 2)) & (volumes > 0)
    volume = volumes[stressed, None, None]
    return (
        _parity("energy", "eV/atom", frames.energies / sizes, predictions.energies / sizes),
        _parity("forces", "eV/A", frames.forces, predictions.forces),
        _parity("stress", "eV/A^3", -frames.virials[stressed] / volume, -predictions.virials[stressed] / volume),
    )


def _parity(name: str, unit: str, label: np.ndarray, prediction: np.ndarray) -> Parity:
    present = np.isfinite(label)
    return Parity(name, unit, label[present], prediction[present])


def format_errors(columns: tuple[Parity, ...], n_frames: int) -> str:
    """Table of RMSE and MAE in milli-units, one property a line."""
    lines = [f"{n_frames} frames     {'RMSE':>10} {'MAE':>10}   labels"]
    for parity in columns:
        if len(parity.label):
            lines.append(f"{parity.name:<15} {1e3 * parity.rmse:>10.4g} {1e3 * parity.mae:>10.4g}   "
                         f"{len(parity.label)}, in m{parity.unit}")
        else:
            lines.append(f"{parity.name:<15} {'-':>10} {'-':>10}   none in the data")
    return "\n".join(lines)
