"""Errors on the frames set aside: in all, by source, and as the one number by which models are compared."""

from typing import NamedTuple

import numpy as np
import torch

from ase_deeppot.fitting.config import LossConfig
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.frames import Frames
from ase_deeppot.fitting.metrics import Accuracy, Predictions, accuracy, parities, predictions, running
from ase_deeppot.fitting.processes import Processes
from ase_deeppot.potential.archive import Model

BLOCK = 64  # frames whose predictions are in memory at a time
PROPERTIES = (("energy", "eV/atom"), ("forces", "eV/A"), ("stress", "eV/A^3"))
SQUARES, ABSOLUTE, LARGEST, LABELS = range(4)  # what is kept of the errors of a frame


class Validation(NamedTuple):
    """Errors of a model on the validation frames."""

    loss: float  # see final_loss; NaN without labels
    accuracy: tuple[Accuracy, ...]  # energy, forces, stress
    by_source: dict[str, tuple[Accuracy, ...]]  # the same for the frames of each source


def validate(model: Model, dataset: Dataset, config: LossConfig, processes: Processes = Processes()) -> Validation:
    """Predict all frames, a share in each process, and look at the errors."""
    frames, share, ready = dataset.frames, processes.share(np.arange(len(dataset))), running(model)
    errors = np.zeros((len(dataset), 4, 4))
    for start in range(0, len(share), BLOCK):
        block = share[start : start + BLOCK]
        errors[block] = frame_errors(frames.select(block), predictions(ready, dataset, block))
    processes.fill_in([torch.from_numpy(errors)])
    masks = {name: frames.source == index for index, name in enumerate(frames.names)}
    by_source = {name: _accuracies(errors[mask]) for name, mask in masks.items() if mask.any()}
    return Validation(final_loss(errors, config), _accuracies(errors), by_source)


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
    of_atoms = _sums(predicted.forces - frames.forces, ~np.isnan(frames.forces))
    forces = np.add.reduceat(of_atoms, first)
    forces[:, LARGEST] = np.maximum.reduceat(of_atoms[:, LARGEST], first)
    energy = ((predicted.energies - frames.energies) / sizes)[:, None]
    return np.stack([_sums(energy, ~np.isnan(frames.energies)[:, None]), forces,
                     _sums(stress, np.broadcast_to(solid, stress.shape)), _sums(virial / sizes[:, None], known)], 1)


def _sums(errors: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Of the errors [K, C] with a label, [K, 4]."""
    size = np.abs(np.where(known, errors, 0.0))
    return np.stack([(size**2).sum(1), size.sum(1), size.max(1), known.sum(1)], axis=1)


def _accuracies(errors: np.ndarray) -> tuple[Accuracy, ...]:
    rows = []
    for (name, unit), of_property in zip(PROPERTIES, errors.transpose(1, 0, 2), strict=False):
        labels = int(of_property[:, LABELS].sum())
        mean = of_property[:, : LABELS].sum(0) / labels if labels else np.full(3, np.nan)
        largest = float(of_property[:, LARGEST].max()) if labels else float("nan")
        rows.append(Accuracy(name, unit, float(np.sqrt(mean[SQUARES])), float(mean[ABSOLUTE]), labels, largest))
    return tuple(rows)


def final_loss(errors: np.ndarray, config: LossConfig) -> float:
    """The loss of the papers with its last prefactors, ``p_e <(dE/N)^2> + p_f <dF^2> + p_v <(dW/N)^2>``.

    The means are over frames, and over force components and virial components, that have a label; without weights.
    ``errors`` are those of :func:`frame_errors`.
    """
    prefactors = (config.limit_pref_e, config.limit_pref_f, config.limit_pref_v)
    squares, labels = (errors[:, [0, 1, 3], column].sum(0) for column in (SQUARES, LABELS))
    terms = [prefactor * float(total / n) for prefactor, total, n in zip(prefactors, squares, labels, strict=True) if n]
    return sum(terms) if terms else float("nan")


def errors_of(frames: Frames, predicted: Predictions) -> tuple[Accuracy, ...]:
    """Errors of energy, forces and stress."""
    return tuple(map(accuracy, parities(frames, predicted)))


def chosen(frames: Frames, predicted: Predictions, mask: np.ndarray) -> tuple[Frames, Predictions]:
    """Some frames [F] and their predictions."""
    atoms = np.repeat(mask, np.diff(frames.offsets))
    return frames.select(mask), Predictions(predicted.energies[mask], predicted.forces[atoms], predicted.virials[mask])
