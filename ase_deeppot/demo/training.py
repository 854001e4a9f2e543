"""Training from the bundled database, and how good the result is."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from ase_deeppot.fitting import FitResult, FittingConfig, fit, read_config
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.frames import Frames
from ase_deeppot.fitting.metrics import Parity, parities, predict
from ase_deeppot.fitting.plots import plot_parity
from ase_deeppot.fitting.sources import read_frames
from ase_deeppot.potential.archive import load_model
from ase_deeppot.resources import find

INPUT = "examples/alcohols.toml"


def train(folder: Path, quick: bool) -> FitResult:
    """Train as ``examples/alcohols.toml`` says, in ``folder``; a tenth of the steps if quick."""
    config = _config(folder, quick)
    result = fit(config=config)
    if result.finished:
        plot_parity(_test_parities(result.model, config), folder / "parity.png")
    return result


def _config(folder: Path, quick: bool) -> FittingConfig:
    config = replace(read_config(find(INPUT)), output=str(folder))
    if not quick:
        return config
    training = config.training
    return replace(config, training=replace(training, steps=training.steps // 10,
                                            validate_every=training.validate_every // 10))


def _test_parities(model_file: Path, config: FittingConfig) -> list[Parity]:
    model = load_model(model_file)
    frames, _ = read_frames(list(config.data.validation))
    energy, *others = parities(frames, predict([model], Dataset(frames, model.card.type_map, model.card.rcut)))
    return [_relative(energy, frames), *others]


def _relative(energy: Parity, frames: Frames) -> Parity:
    """Energies counted from the mean label of frames of equal composition: what sets molecules apart would hide
    how well each is described.
    """
    sorted_numbers = [tuple(np.sort(numbers)) for numbers in np.split(frames.numbers, frames.offsets[1:-1])]
    kind = np.array([sorted(set(sorted_numbers)).index(numbers) for numbers in sorted_numbers])
    mean = (np.bincount(kind, energy.label) / np.bincount(kind))[kind]
    return energy._replace(name="energy, from the mean of each composition", label=energy.label - mean,
                           prediction=energy.prediction - mean)
