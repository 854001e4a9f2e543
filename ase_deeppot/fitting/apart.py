"""How far the models of a committee are apart on many frames, and where most."""

import math

import numpy as np

from ase_deeppot.fitting.frames import Frames
from ase_deeppot.fitting.metrics import Predictions


class Apart:
    """Deviations of forces, summed up some frames at a time."""

    def __init__(self) -> None:
        self._squares, self._atoms = 0.0, 0
        self._largest, self._where = -math.inf, ""

    def add(self, frames: Frames, predictions: Predictions) -> None:
        """Take some more frames into account."""
        found = predictions.deviations
        if found is None or len(found) == 0:
            return
        self._squares, self._atoms = self._squares + float(np.square(found).sum()), self._atoms + len(found)
        atom = int(np.argmax(found))
        if found[atom] > self._largest:
            frame = int(np.searchsorted(frames.offsets, atom, side="right")) - 1
            self._largest, self._where = float(found[atom]), frames.label(frame)

    def text(self, models: int) -> str:
        """A line for the user; empty if there was nothing."""
        if self._atoms == 0:
            return ""
        rms = math.sqrt(self._squares / self._atoms)
        return (f"{models} models, their mean; forces on an atom are {1e3 * rms:.4g} meV/A (RMS) from it, at most "
                f"{1e3 * self._largest:.4g} meV/A in {self._where}")
