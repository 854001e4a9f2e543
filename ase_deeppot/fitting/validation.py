"""Errors on the frames set aside: in all, by source, and as the one number by which models are compared."""

from typing import NamedTuple

import numpy as np
import torch

from ase_deeppot.fitting.config import LossConfig
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.error_sums import LABELS, SQUARES, accuracies, frame_errors
from ase_deeppot.fitting.frames import Frames
from ase_deeppot.fitting.metrics import Accuracy, Predictions, accuracy, parities, predictions, running
from ase_deeppot.fitting.processes import Processes
from ase_deeppot.potential.archive import Model

BLOCK = 64  # frames whose predictions are in memory at a time


class Validation(NamedTuple):
    """Errors of a model on the validation frames."""

    loss: float  # see final_loss; NaN without labels
    accuracy: tuple[Accuracy, ...]  # energy, forces, stress
    by_source: dict[str, tuple[Accuracy, ...]]  # the same for the frames of each source


def validate(model: Model, dataset: Dataset, config: LossConfig, processes: Processes = Processes()) -> Validation:
    """Predict all frames, a share in each process, and look at the errors."""
    frames, share, ready = dataset.frames, processes.share(np.arange(len(dataset))), running([model])
    errors = np.zeros((len(dataset), 4, 4))
    for start in range(0, len(share), BLOCK):
        block = share[start : start + BLOCK]
        errors[block] = frame_errors(frames.select(block), predictions(ready, dataset, block))
    processes.fill_in([torch.from_numpy(errors)])
    masks = {name: frames.source == index for index, name in enumerate(frames.names)}
    by_source = {name: accuracies(errors[mask]) for name, mask in masks.items() if mask.any()}
    return Validation(final_loss(errors, config), accuracies(errors), by_source)


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
