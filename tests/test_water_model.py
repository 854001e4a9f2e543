"""The bundled water model: its card is true, and it holds what the README promises."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.fd import calculate_numerical_forces
from ase.io import read
from builders import needs_numba
from builders import predict as predict_atoms

from ase_deeppot import DeepPotCalculator
from ase_deeppot.config import parse
from ase_deeppot.fitting.config import FittingConfig
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.metrics import accuracy, parities, predict
from ase_deeppot.fitting.sources import read_frames
from ase_deeppot.potential.archive import load_model
from ase_deeppot.potential.folding import describe_series, fold
from ase_deeppot.resources import find

ROOT = Path(__file__).resolve().parents[1]
HELD_OUT = ROOT.parent / "shared" / "data" / "water_dpkit" / "test.extxyz"


@pytest.fixture(scope="module")
def model():
    return load_model(find("models/water.pth"))


def test_input_file_is_the_one_that_made_it(model):
    config = parse(FittingConfig, tomllib.loads(find("models/water.toml").read_text()))
    assert model.card.config == config.model
    assert model.card.training["steps"] == config.training.steps


@pytest.mark.slow
@pytest.mark.skipif(not HELD_OUT.exists(), reason="needs the held-out DFT frames of water_dpkit beside the repository")
def test_errors_on_held_out_frames_are_those_of_the_card(model):
    frames, _ = read_frames(HELD_OUT)
    dataset = Dataset(frames, model.card.type_map, model.card.rcut)
    energy, forces, _ = map(accuracy, parities(frames, predict([model], dataset)))
    assert energy.rmse < 1e-3  # eV/atom
    assert forces.rmse < 0.05  # eV/A
    card = (ROOT / "models" / "water.md").read_text()
    assert f"{1e3 * energy.rmse:.2f} meV/atom" in card
    assert f"{1e3 * forces.rmse:.1f} meV/Å" in card


def test_series_is_the_one_of_the_card(model):
    series = describe_series(model.module, fold(model.module))
    assert series.pop("error") == pytest.approx(model.card.series["error"], rel=1e-3)
    assert series.items() <= model.card.series.items()
    assert model.card.series["reach"] < min(model.card.domain.smallest_distance.values())


@needs_numba
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 2e-5)])
def test_compiled_loops_agree_with_torch(dtype, tolerance):
    model, atoms = load_model(find("models/water.pth"), dtype=dtype), read(find("examples/data/water_box.extxyz"))
    compiled, in_torch = (predict_atoms(model, atoms, compiled=choice) for choice in (True, False))
    for got, expected in zip(compiled, in_torch, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=tolerance)


def test_forces_are_derivatives_of_the_energy(compiled_loops):
    atoms = read(find("examples/data/water_box.extxyz"))
    atoms.calc = DeepPotCalculator("water", dtype="float64")
    some = [0, 5, 100]
    numerical = calculate_numerical_forces(atoms, eps=1e-4, iatoms=some)
    np.testing.assert_allclose(atoms.get_forces()[some], numerical, atol=1e-6)
