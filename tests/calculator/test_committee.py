"""Several models in one calculator: means, how far they are apart, and all else as with one."""

import copy
import json
import pickle
import warnings

import numpy as np
import pytest
from ase.calculators.calculator import InputError
from builders import random_atoms

from ase_deeppot import DeepPotCalculator
from ase_deeppot.errors import ModelFileError
from ase_deeppot.watch import DomainWarning


@pytest.fixture
def files(model_file):
    """Three models that differ by their seed."""
    return [model_file(seed=seed) for seed in (1, 2, 3)]


@pytest.fixture
def atoms():
    return random_atoms(10)


def results(atoms, files, **options):
    atoms = atoms.copy()
    atoms.calc = DeepPotCalculator(files, **options)
    atoms.get_stresses()
    return atoms.calc


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_results_are_means(atoms, files, dtype):
    single = [results(atoms, file, dtype=dtype) for file in files]
    committee = results(atoms, files, dtype=dtype)
    tolerance = 1e-12 if dtype == "float64" else 1e-4
    for name in ("energy", "free_energy", "energies", "forces", "stress", "stresses"):
        expected = np.mean([calc.results[name] for calc in single], axis=0)
        np.testing.assert_allclose(committee.results[name], expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(committee.virial, np.mean([calc.virial for calc in single], axis=0), atol=10 * tolerance)
    energies = [calc.results["energy"] for calc in single]
    assert committee.deviation.energy == pytest.approx(np.std(energies), abs=10 * tolerance)
    forces = np.array([calc.results["forces"] for calc in single])
    expected = np.sqrt(((forces - forces.mean(axis=0)) ** 2).sum(axis=2).mean(axis=0))
    np.testing.assert_allclose(committee.deviation.forces, expected, rtol=tolerance, atol=tolerance)


def test_types_in_another_order(atoms, model_file):
    """Each model has its own order of the elements, and its own distances to warn of."""
    files = [model_file(seed=1), model_file(seed=2, type_map=("O", "H"), smallest_distance={"O-O": 9.0})]
    single = [results(atoms, files[0])]
    for several in (files[1], files, files[::-1]):
        with pytest.warns(DomainWarning, match="O-O distance"):
            single.append(results(atoms, several))
    expected = (single[0].results["forces"] + single[1].results["forces"]) / 2
    for calc in single[2:]:
        np.testing.assert_allclose(calc.results["forces"], expected, rtol=0, atol=1e-12)


def test_deviation_is_of_the_last_structure(atoms, files):
    atoms.calc = DeepPotCalculator(files)
    assert atoms.calc.deviation is None
    atoms.get_forces()
    before = atoms.calc.deviation.forces
    atoms.rattle(0.05, seed=0)
    atoms.get_potential_energy()
    assert (atoms.calc.deviation.forces != before).all()


def test_one_in_a_list_is_one(atoms, files):
    single, listed = results(atoms, files[0]), results(atoms, files[:1])
    np.testing.assert_array_equal(listed.results["forces"], single.results["forces"])
    assert listed.deviation is None


def test_paths_of_any_kind(atoms, files):
    calc = DeepPotCalculator(tuple(files))
    assert calc.parameters["model"] == [str(file) for file in files]
    assert calc.card.type_map == ("H", "O")
    json.dumps(calc.todict())


def test_copies_and_pickles(atoms, files):
    calc = results(atoms, files)
    for other in (copy.deepcopy(calc), pickle.loads(pickle.dumps(calc))):
        again = atoms.copy()
        again.calc = other
        assert again.get_potential_energy() == calc.results["energy"]
        np.testing.assert_array_equal(other.deviation.forces, calc.deviation.forces)


def test_models_are_exchanged(atoms, files):
    calc = results(atoms, files)
    assert calc.set(model=list(files)) == {}
    atoms.calc = calc
    calc.set(model=files[2])
    assert atoms.get_potential_energy() == results(atoms, files[2]).results["energy"]
    assert calc.deviation is None
    calc.set(model=files[:2])
    assert atoms.get_potential_energy() == results(atoms, files[:2]).results["energy"]


def test_forces_are_the_slope_of_the_energy(atoms, files):
    atoms.calc = DeepPotCalculator(files)
    forces, step = atoms.get_forces(), 1e-4
    for atom, axis in ((0, 0), (4, 1), (9, 2)):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.calc = atoms.calc
            moved.positions[atom, axis] += sign * step
            energies.append(moved.get_potential_energy())
        assert (energies[1] - energies[0]) / (2 * step) == pytest.approx(forces[atom, axis], abs=1e-6)


def test_any_of_the_models_warns(model_file):
    near, far = model_file(seed=1), model_file(seed=2, smallest_distance={"H-O": 1.5})
    atoms = random_atoms(2, cell=np.eye(3) * 9)
    atoms.symbols, atoms.positions = "HO", [[0, 0, 0], [1.2, 0, 0]]
    with warnings.catch_warnings():
        warnings.simplefilter("error", DomainWarning)
        results(atoms, [near, near])
    with pytest.warns(DomainWarning, match=r"H-O distance of 1.20 A") as caught:
        results(atoms, [near, far])
    told = [warning for warning in caught if warning.category is DomainWarning]  # local frames tell of jumps, too
    assert len(told) == 1
    assert told[0].filename == __file__


def test_models_that_do_not_belong_together(files, model_file):
    with pytest.raises(ModelFileError, match="the same elements"):
        DeepPotCalculator([files[0], model_file(type_map=("Cu",))])


@pytest.mark.parametrize("model", [[], ""])
def test_no_model(model):
    with pytest.raises(InputError, match="expected a model, or several"):
        DeepPotCalculator(model)
