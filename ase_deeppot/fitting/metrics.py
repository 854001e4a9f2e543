"""How far a model is from the labels: predictions for frames, and their errors."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ase_deeppot.compiler import compilable
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.frames import Frames
from ase_deeppot.potential.archive import Model
from ase_deeppot.potential.committee import Committee, together
from ase_deeppot.potential.engine import Engine, engine
from ase_deeppot.potential.parameters import refuse
from ase_deeppot.potential.prediction import symmetric


class Predictions(NamedTuple):
    """What a model says of each frame, laid out like the labels of :class:`Frames`."""

    energies: np.ndarray  # [F] eV
    forces: np.ndarray  # [sum N, 3] eV/A
    virials: np.ndarray  # [F, 3, 3] eV
    deviations: np.ndarray | None = None  # [sum N] eV/A, of the forces of several models


class Parity(NamedTuple):
    """Labels and predictions of one property, where there are labels."""

    name: str
    unit: str
    label: np.ndarray  # [K]
    prediction: np.ndarray  # [K]


class Accuracy(NamedTuple):
    """Errors of one property; NaN where there are no labels."""

    name: str
    unit: str
    rmse: float
    mae: float
    labels: int
    largest: float = float("nan")


def accuracy(parity: Parity) -> Accuracy:
    """Root mean square and mean absolute error."""
    error = parity.prediction - parity.label
    if len(error) == 0:
        return Accuracy(parity.name, parity.unit, float("nan"), float("nan"), 0)
    return Accuracy(parity.name, parity.unit, float(np.sqrt(np.mean(error**2))), float(np.mean(np.abs(error))),
                    len(error), float(np.abs(error).max()))


def predict(models: Sequence[Model], dataset: Dataset, indices: np.ndarray | None = None) -> Predictions:
    """Energies, forces and virials of all frames, or of some of them; of several models the mean.

    Raises
    ------
    ModelFileError
        If a model takes parameters beside the structure, which a data set does not have, or the models are not alike.
    """
    return predictions(running(models), dataset, np.arange(len(dataset)) if indices is None else indices)


def running(models: Sequence[Model]) -> Committee:
    """A model ready to predict, or the mean of several; raises as :func:`predict`."""
    return together(models, _running)


def _running(model: Model) -> Engine:
    refuse(model.card.config.fitting_net, "on data sets")
    device = next(model.module.parameters()).device
    return engine(model, str(device), compiled=compilable() if device.type == "cpu" else None)  # from the start


def predictions(ready: Committee, dataset: Dataset, indices: np.ndarray) -> Predictions:
    """Energies, forces and virials of some frames."""
    found = [ready.evaluate(dataset.types_of_frame(k), dataset.pairs(k)) for k in indices.tolist()]
    parts, apart = [part for part, _ in found], [deviation.forces for _, deviation in found if deviation]
    return Predictions(
        np.array([part.energies.sum() for part in parts]),
        np.concatenate([part.forces for part in parts]),
        np.stack([symmetric(part.virials.sum(0)) for part in parts]),
        np.concatenate(apart) if apart else None,
    )


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


def format_accuracy(rows: Sequence[Accuracy], n_frames: int) -> str:
    """Table of RMSE and MAE, one property a line."""
    lines = [f"{f'{n_frames} frames':<24} {'RMSE':>10} {'MAE':>10}   labels"]
    for row in rows:
        name = f"{row.name}, m{row.unit}"
        errors = f"{1e3 * row.rmse:>10.4g} {1e3 * row.mae:>10.4g}" if row.labels else f"{'-':>10} {'-':>10}"
        lines.append(f"{name:<24} {errors}   {row.labels or 'none in the data'}")
    return "\n".join(lines)
