"""Labels beside predictions as a picture needs them: all of a few, a sample of many and the worst."""

from typing import NamedTuple

import numpy as np

from ase_deeppot.fitting.metrics import Accuracy, Parity, accuracy

LARGEST_SAMPLE = 100_000  # labels of a property
WORST = 100  # of the others
LABEL, PREDICTION, DRAW = range(3)  # columns; the draws are random numbers, the smallest of which make the sample


class Drawn(NamedTuple):
    """One property in a picture."""

    sample: Parity
    worst: Parity  # outside the sample
    errors: Accuracy  # of all labels


class Points:
    """Labels and predictions of one property that come some at a time, a bounded number of which is kept.

    What is kept depends on all that came, not on how it was divided.
    """

    def __init__(self, name: str, unit: str, largest_sample: int = LARGEST_SAMPLE, worst: int = WORST) -> None:
        self._name, self._unit, self._size, self._worst = name, unit, largest_sample, worst
        self._rng = np.random.default_rng(0)
        self._rows = np.empty((0, 3))

    def add(self, parity: Parity) -> None:
        """Look at some more."""
        new = np.column_stack([parity.label, parity.prediction, self._rng.random(len(parity.label))])
        rows = np.concatenate([self._rows, new])
        self._rows = rows[self._sampled(rows) | self._far(rows)]

    def drawn(self, errors: Accuracy) -> Drawn:
        """What was kept, in the order in which it came; ``errors`` are those of all."""
        sampled = self._sampled(self._rows)
        return Drawn(self._parity(self._rows[sampled]), self._parity(self._rows[~sampled]), errors)

    def _sampled(self, rows: np.ndarray) -> np.ndarray:
        return _smallest(rows[:, DRAW], self._size)

    def _far(self, rows: np.ndarray) -> np.ndarray:
        return _smallest(-np.abs(rows[:, PREDICTION] - rows[:, LABEL]), self._worst)

    def _parity(self, rows: np.ndarray) -> Parity:
        return Parity(self._name, self._unit, rows[:, LABEL], rows[:, PREDICTION])


def drawn(parity: Parity) -> Drawn:
    """All of them."""
    return Drawn(parity, parity._replace(label=np.empty(0), prediction=np.empty(0)), accuracy(parity))


def _smallest(values: np.ndarray, count: int) -> np.ndarray:
    """Which of the values [K] are the ``count`` smallest, [K] bool."""
    mask = np.ones(len(values), dtype=bool)
    if len(values) > count:
        mask[np.argpartition(values, count)[count:]] = False
    return mask
