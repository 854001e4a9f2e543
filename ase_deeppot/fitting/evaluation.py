"""Errors of a model on any number of labelled frames, some of which are in memory at a time."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ase_deeppot.fitting.apart import Apart
from ase_deeppot.fitting.breakdown import Breakdown, Entry
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.error_sums import PROPERTIES
from ase_deeppot.fitting.frames import Frames
from ase_deeppot.fitting.metrics import Predictions, parities, predictions, running
from ase_deeppot.fitting.points import Drawn, Points
from ase_deeppot.fitting.stored import blocks
from ase_deeppot.potential.archive import Model

BLOCK = 1 << 12  # atoms whose labels and predictions are in memory at a time


class Evaluation(NamedTuple):
    """What a model's predictions are like."""

    entries: list[Entry]  # errors of all frames and of their parts
    drawn: tuple[Drawn, ...]  # energy, forces and stress, as pictures need them
    apart: Apart  # how far several models are from their mean


def evaluate(models: Sequence[Model], dataset: Dataset, take: Callable[[Frames, Predictions], object],
             progress: Callable[[int], object] = lambda done: None, block: int = BLOCK) -> Evaluation:
    """Predict all frames.

    Parameters
    ----------
    models : sequence of Model
        Of several, their mean predicts.
    take : callable
        Gets frames with their predictions, some at a time.
    progress : callable
        Gets the number of frames done.
    block : int
        So many atoms at a time.

    Raises
    ------
    ModelFileError
        If a model takes parameters beside the structure, which a data set does not have, or the models are not alike.
    """
    ready, found = running(models), Breakdown(dataset.frames.names, models[0].card.elements)
    points, apart = [Points(name, unit) for name, unit in PROPERTIES], Apart()
    for start, stop in blocks(dataset.frames, block):
        frames = dataset.frames.select(slice(start, stop))
        predicted = predictions(ready, dataset, np.arange(start, stop))
        found.add(frames, predicted)
        apart.add(frames, predicted)
        for of_property, parity in zip(points, parities(frames, predicted), strict=True):
            of_property.add(parity)
        take(frames, predicted)
        progress(stop)
    entries = found.entries()
    drawn = tuple(one.drawn(entry.errors) for one, entry in zip(points, entries, strict=False))
    return Evaluation(entries, drawn, apart)
