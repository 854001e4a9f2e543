"""Errors on the frames set aside: in all, by source, and as the one number by which models are compared."""

from typing import NamedTuple

import numpy as np
import torch

from ase_deeppot.fitting.config import LossConfig
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.frames import Frames
from ase_deeppot.fitting.metrics import Accuracy, Predictions, accuracy, parities, predict
from ase_deeppot.fitting.processes import Processes
from ase_deeppot.potential.archive import Model


class Validation(NamedTuple):
    """Errors of a model on the validation frames."""

    loss: float  # see final_loss; NaN without labels
    accuracy: tuple[Accuracy, ...]  # energy, forces, stress
    by_source: dict[str, tuple[Accuracy, ...]]  # the same for the frames of each source


def validate(model: Model, dataset: Dataset, config: LossConfig, processes: Processes = Processes()) -> Validation:
    """Predict all frames, a share in each process, and look at the errors."""
    frames, predictions = dataset.frames, _predict(model, dataset, processes)
    masks = {name: frames.source == index for index, name in enumerate(frames.names)}
    by_source = {name: errors_of(*chosen(frames, predictions, mask)) for name, mask in masks.items() if mask.any()}
    return Validation(final_loss(frames, predictions, config), errors_of(frames, predictions), by_source)


def _predict(model: Model, dataset: Dataset, processes: Processes) -> Predictions:
    if processes.number == 1:
        return predict(model, dataset)
    frames, share = dataset.frames, processes.share(np.arange(len(dataset)))
    whole = Predictions(np.zeros(frames.count), np.zeros(frames.forces.shape), np.zeros(frames.virials.shape))
    if len(share):
        atoms = np.concatenate([np.arange(frames.offsets[k], frames.offsets[k + 1]) for k in share])
        whole.energies[share], whole.forces[atoms], whole.virials[share] = predict(model, dataset, share)
    processes.fill_in([torch.from_numpy(array) for array in whole])
    return whole


def errors_of(frames: Frames, predictions: Predictions) -> tuple[Accuracy, ...]:
    """Errors of energy, forces and stress."""
    return tuple(map(accuracy, parities(frames, predictions)))


def chosen(frames: Frames, predictions: Predictions, mask: np.ndarray) -> tuple[Frames, Predictions]:
    """Some frames [F] and their predictions."""
    atoms = np.repeat(mask, np.diff(frames.offsets))
    return frames.select(mask), Predictions(predictions.energies[mask], predictions.forces[atoms],
                                            predictions.virials[mask])


def final_loss(frames: Frames, predictions: Predictions, config: LossConfig) -> float:
    """The loss of the papers with its last prefactors, ``p_e <(dE/N)^2> + p_f <dF^2> + p_v <(dW/N)^2>``.

    The means are over frames, and over force components and virial components, that have a label; without weights.
    """
    sizes = np.diff(frames.offsets)
    energy = (predictions.energies - frames.energies) / sizes
    virial = (predictions.virials - frames.virials) / sizes[:, None, None]
    terms = ((config.limit_pref_e, energy), (config.limit_pref_f, predictions.forces - frames.forces),
             (config.limit_pref_v, virial))
    present = [(prefactor, error[~np.isnan(frame)]) for (prefactor, error), frame in
               zip(terms, (frames.energies, frames.forces, frames.virials), strict=True)]
    squares = [prefactor * float(np.mean(error**2)) for prefactor, error in present if error.size]
    return sum(squares) if squares else float("nan")
