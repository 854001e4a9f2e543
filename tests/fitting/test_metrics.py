"""Errors of a model on labelled frames, against ASE's calculator interface and plain NumPy."""

import builders
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from calculator_errors import calculator_errors

from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.metrics import Accuracy, Parity, accuracy, format_accuracy, parities, predict
from ase_deeppot.fitting.sources import read_frames
from ase_deeppot.potential.archive import load_model


@pytest.fixture
def path(model_file):
    return model_file(type_map=("Cu", "Au"))


def parities_of(path, images):
    model = load_model(path)
    frames, _ = read_frames(images)
    return parities(frames, predict([model], Dataset(frames, model.card.type_map, model.card.rcut)))


def test_errors_are_those_of_the_calculator(path, alloys):
    images = alloys(5, seed=3)
    errors = calculator_errors(path, images)
    for parity in parities_of(path, images):
        row, expected = accuracy(parity), errors[parity.name]
        assert row.rmse == pytest.approx(np.sqrt(np.mean(expected**2)), rel=1e-9), parity.name
        assert row.mae == pytest.approx(np.mean(np.abs(expected)), rel=1e-9), parity.name
        assert row.labels == len(expected)


def test_only_labels_that_are_there_count(path, alloys):
    images = alloys(4, seed=1, properties=(("energy",), ("forces",), ("energy", "stress"), ("forces", "energy")))
    energy, forces, stress = parities_of(path, images)
    assert (len(energy.label), len(forces.label), len(stress.label)) == (3, 3 * 16, 9)
    np.testing.assert_allclose(energy.label[0], images[0].calc.results["energy"] / 4)
    np.testing.assert_allclose(stress.label, images[2].get_stress(voigt=False).ravel(), atol=1e-12)
    assert np.isfinite(forces.prediction).all()


def test_a_virial_without_a_volume_is_no_stress(path):
    from ase_deeppot.fitting.labels import KeyMapping
    atoms = Atoms("Cu2", [[0, 0, 0], [2.5, 0, 0]])
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0)
    atoms.info["W"] = np.eye(3)
    frames, _ = read_frames(atoms, KeyMapping(virial="W", virial_sign="-dE/dstrain"))
    model = load_model(path)
    assert len(parities(frames, predict([model], Dataset(frames, model.card.type_map, 4.0)))[2].label) == 0


def test_a_prediction_that_is_not_finite_shows(path, alloys):
    model = builders.random_model(("Cu", "Au"))
    model.module.fitting_net.energy_bias.fill_(np.nan)
    frames, _ = read_frames(alloys(2))
    energy, _, _ = parities(frames, predict([model], Dataset(frames, ("Cu", "Au"), 4.0)))
    assert np.isnan(accuracy(energy).rmse)


def test_table():
    rows = [accuracy(Parity("energy", "eV/atom", np.array([1.0, 2.0]), np.array([1.003, 1.996]))),
            Accuracy("stress", "eV/A^3", float("nan"), float("nan"), 0)]
    assert format_accuracy(rows, 2).split("\n") == [
        "2 frames                       RMSE        MAE   labels",
        "energy, meV/atom              3.536        3.5   2",
        "stress, meV/A^3                   -          -   none in the data",
    ]
