"""Sums over errors, from which the errors of any part of the frames are told without keeping predictions."""

import numpy as np

from ase_deeppot.fitting.frames import Frames
from ase_deeppot.fitting.metrics import Accuracy, Predictions

PROPERTIES = (("energy", "eV/atom"), ("forces", "eV/A"), ("stress", "eV/A^3"))
SQUARES, ABSOLUTE, LARGEST, LABELS = range(4)  # what is kept of some errors


def frame_errors(frames: Frames, predicted: Predictions) -> np.ndarray:
    """Sums over the labels of each frame, [F, 4, 4].

    Of the errors of energy per atom, forces, stress and virial per atom; sums of their squares and absolute values, the
    largest, and the number of labels.
    """
    sizes, first = np.diff(frames.offsets), frames.offsets[:-1]
    volumes = np.abs(np.linalg.det(frames.cells))
    virial = (predicted.virials - frames.virials).reshape(-1, 9)
    known = ~np.isnan(frames.virials.reshape(-1, 9))
    solid = (known.all(1) & (volumes > 0))[:, None]
    stress = virial / np.where(volumes > 0, volumes, 1.0)[:, None]
    of_atoms = atom_errors(frames, predicted)
    forces = np.add.reduceat(of_atoms, first)
    forces[:, LARGEST] = np.maximum.reduceat(of_atoms[:, LARGEST], first)
    energy = ((predicted.energies - frames.energies) / sizes)[:, None]
    return np.stack([_sums(energy, ~np.isnan(frames.energies)[:, None]), forces,
                     _sums(stress, np.broadcast_to(solid, stress.shape)), _sums(virial / sizes[:, None], known)], 1)


def atom_errors(frames: Frames, predicted: Predictions) -> np.ndarray:
    """Sums over the force components of each atom, [N, 4], as in :func:`frame_errors`."""
    return _sums(predicted.forces - frames.forces, ~np.isnan(frames.forces))


def _sums(errors: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Of the errors [K, C] with a label, [K, 4]."""
    size = np.abs(np.where(known, errors, 0.0))
    return np.stack([(size**2).sum(1), size.sum(1), size.max(1), known.sum(1)], axis=1)


def add_to(total: np.ndarray, part: np.ndarray, sums: np.ndarray) -> None:
    """Add sums [K, ..., 4] to those [P, ..., 4] of the part [K] that each belongs to."""
    for column in (SQUARES, ABSOLUTE, LABELS):
        np.add.at(total[..., column], part, sums[..., column])
    np.maximum.at(total[..., LARGEST], part, sums[..., LARGEST])


def accuracies(errors: np.ndarray) -> tuple[Accuracy, ...]:
    """Errors of energy, forces and stress, from all the sums [K, 3 or 4, 4] together."""
    return tuple(accuracy_of(name, unit, of_property)
                 for (name, unit), of_property in zip(PROPERTIES, errors.transpose(1, 0, 2), strict=False))


def accuracy_of(name: str, unit: str, sums: np.ndarray) -> Accuracy:
    """Errors of one property, from the sums [K, 4] together; NaN where there are no labels."""
    labels = int(sums[:, LABELS].sum())
    mean = sums[:, :LARGEST].sum(0) / labels if labels else np.full(2, np.nan)
    largest = float(sums[:, LARGEST].max()) if labels else float("nan")
    return Accuracy(name, unit, float(np.sqrt(mean[SQUARES])), float(mean[ABSOLUTE]), labels, largest)
