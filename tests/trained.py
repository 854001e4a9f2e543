"""What tests ask of a training run: its numbers, and to be interrupted."""

import os
from pathlib import Path

import numpy as np
import torch

from ase_deeppot.fitting import learning_curve, trainer
from ase_deeppot.potential.archive import load_model


def weights(path) -> dict[str, torch.Tensor]:
    return dict(load_model(path).module.state_dict())


def equal(one, other) -> bool:
    one, other = weights(one), weights(other)
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def curve(folder) -> np.ndarray:
    """The learning curve without its seconds."""
    return np.array(learning_curve.read(Path(folder) / "lcurve.csv"))[:, :-1]


def interrupt_at(monkeypatch, step):
    """Raise SIGINT in the middle of the run."""
    original = trainer.Trainer.step

    def stopping(self):
        original(self)
        if self.done == step:
            os.kill(os.getpid(), 2)
    monkeypatch.setattr(trainer.Trainer, "step", stopping)
    return lambda: monkeypatch.setattr(trainer.Trainer, "step", original)
