"""Caching, changing parameters, copies and pickles: equal structures have equal results, to the last bit."""

import copy
import json
import pickle

import numpy as np
import pytest
import torch
from ase.calculators.calculator import InputError, all_changes
from builders import needs_numba, random_atoms

from ase_deeppot import DeepPotCalculator


@pytest.fixture
def atoms(calculator):
    atoms = random_atoms(6)
    atoms.calc = calculator()
    return atoms


@pytest.fixture
def count(monkeypatch):
    """Number of times that the model has run, as a list of the atoms."""
    calls = []
    original = DeepPotCalculator._predicted

    def counting(self):
        calls.append(self.atoms)
        return original(self)

    monkeypatch.setattr(DeepPotCalculator, "_predicted", counting)
    return calls


class TestCaching:
    def test_all_properties_come_from_one_calculation(self, atoms, count):
        for _ in range(2):
            atoms.get_potential_energy()
            atoms.get_forces()
            atoms.get_stress()
            atoms.get_stresses()
            atoms.get_potential_energies()
        assert len(count) == 1

    @pytest.mark.parametrize("change", [
        lambda a: a.positions.__iadd__(np.eye(6, 3) * 1e-9), lambda a: a.set_cell(a.cell * 1.001),
        lambda a: a.set_pbc((True, True, False)), lambda a: a.numbers.__setitem__(0, 9 - a.numbers[0]),
        lambda a: a.append("H"), lambda a: a.pop(),
    ], ids=["positions", "cell", "pbc", "numbers", "append", "pop"])
    def test_relevant_changes(self, atoms, count, change):
        before = atoms.get_potential_energy()
        change(atoms)
        atoms.positions[-1] += 0.01
        assert atoms.get_potential_energy() != before
        assert len(count) == 2

    def test_irrelevant_changes(self, atoms, count):
        before = atoms.get_potential_energy()
        atoms.set_initial_charges(np.ones(6))
        atoms.set_initial_magnetic_moments(np.ones(6))
        atoms.set_velocities(np.ones((6, 3)))
        atoms.set_tags(range(6))
        atoms.info["comment"] = 1
        assert atoms.get_potential_energy() == before
        assert len(count) == 1

    def test_change_and_back(self, atoms, count):
        before = atoms.get_potential_energy()
        atoms.positions[0] += 0.5
        atoms.get_potential_energy()
        atoms.positions[0] -= 0.5
        assert atoms.get_potential_energy() == pytest.approx(before, abs=1e-10)

    def test_results_handed_out_are_copies(self, atoms):
        atoms.get_forces()[:] = 0.0
        assert abs(atoms.get_forces()).max() > 0

    def test_results_do_not_follow_later_calculations(self, atoms):
        atoms.get_potential_energy()
        results = atoms.calc.results
        before = copy.deepcopy(results)
        atoms.positions[0] += 0.3
        atoms.get_potential_energy()
        for key in before:
            np.testing.assert_array_equal(results[key], before[key])

    def test_one_calculator_for_two_structures(self, atoms, calculator):
        other = random_atoms(9, seed=7)
        alone = random_atoms(9, seed=7)
        other.calc, alone.calc = atoms.calc, calculator()
        before = atoms.get_forces()
        np.testing.assert_array_equal(other.get_forces(), alone.get_forces())
        np.testing.assert_array_equal(atoms.get_forces(), before)


class TestCheckState:
    """What the calculator tells ASE of changes."""

    def test_before_the_first_calculation(self, atoms):
        assert atoms.calc.check_state(atoms) == all_changes

    def test_nothing_changed(self, atoms):
        atoms.get_potential_energy()
        assert atoms.calc.check_state(atoms) == []
        assert atoms.calc.check_state(atoms.copy()) == []

    @pytest.mark.parametrize(("change", "names"), [
        (lambda a: a.positions.__setitem__((3, 1), np.nextafter(a.positions[3, 1], 99)), ["positions"]),
        (lambda a: a.cell.__setitem__((2, 0), a.cell[2, 0] + 1e-14), ["cell"]),
        (lambda a: a.set_cell(a.cell * 1.1, scale_atoms=True), ["positions", "cell"]),
        (lambda a: a.set_pbc((True, False, True)), ["pbc"]),
        (lambda a: a.numbers.__setitem__(0, 9 - a.numbers[0]), ["numbers"]),
        (lambda a: a.append("H"), ["positions", "numbers"]),
        (lambda a: a.__delitem__(slice(None)), ["positions", "numbers"]),
        (lambda a: a.set_initial_charges(np.ones(6)), []),
        (lambda a: a.set_initial_magnetic_moments(np.ones(6)), []),
        (lambda a: a.set_masses(np.ones(6)), []),
    ], ids=["positions", "cell", "cell and positions", "pbc", "numbers", "append", "delete", "charges", "moments",
            "masses"])
    def test_changes(self, atoms, change, names):
        atoms.get_potential_energy()
        change(atoms)
        assert atoms.calc.check_state(atoms) == names
        assert atoms.calc.calculation_required(atoms, ["energy"]) == bool(names)

    def test_positions_that_are_no_numbers_are_refused_each_time(self, atoms):
        """Whether they count as changed does not matter: no results are there for them, nor those of before."""
        atoms.get_potential_energy()
        atoms.positions[0] = np.nan
        for _ in range(2):
            with pytest.raises(InputError, match="expected finite positions"):
                atoms.get_potential_energy()
            assert atoms.calc.calculation_required(atoms, ["energy"])


class TestDirectCall:
    def test_with_atoms(self, atoms):
        calc = atoms.calc
        atoms.calc = None
        calc.calculate(atoms)
        energy = calc.results["energy"]
        assert calc.get_potential_energy(atoms) == energy
        assert set(calc.results) == set(calc.implemented_properties)

    def test_that_claims_no_changes_is_not_believed(self, atoms, count):
        before = atoms.get_potential_energy()
        atoms.calc.calculate(atoms, ["stresses"], [])
        assert len(count) == 1
        assert atoms.calc.results["stresses"].shape == (6, 6)
        other = atoms.copy()
        other.positions[0] += 0.1
        atoms.calc.calculate(other, ["energy"], [])
        assert len(count) == 2
        assert atoms.calc.results["energy"] != before

    def test_without_atoms_repeats_the_last_structure(self, atoms):
        energy = atoms.get_potential_energy()
        atoms.calc.results = {}
        atoms.calc.calculate()
        assert atoms.calc.results["energy"] == energy

    def test_keeps_no_reference_to_the_structure(self, atoms):
        calc = atoms.calc
        calc.calculate(atoms)
        energy = calc.results["energy"]
        atoms.positions[0] += 0.2
        calc.calculate()
        assert calc.results["energy"] == energy


class TestSet:
    def test_nothing_new_keeps_the_results(self, atoms, count, model_file):
        atoms.get_potential_energy()
        assert atoms.calc.set(skin=1.0, dtype=None, device="cpu", model=model_file()) == {}
        atoms.get_potential_energy()
        assert len(count) == 1

    def test_skin(self, atoms, count):
        before = atoms.get_forces()
        assert atoms.calc.set(skin=0.3) == {"skin": 0.3}
        assert atoms.calc.results == {}
        np.testing.assert_array_equal(atoms.get_forces(), before)
        assert len(count) == 2

    def test_dtype_and_back(self, atoms):
        before = atoms.get_forces()
        atoms.calc.set(dtype="float32")
        assert atoms.calc.card.config.precision == "float32"
        assert 0 < abs(atoms.get_forces() - before).max() < 1e-3
        atoms.calc.set(dtype=None)
        np.testing.assert_array_equal(atoms.get_forces(), before)

    def test_dtype_keeps_the_model_whatever_became_of_its_file(self, model_file, tmp_path):
        path = tmp_path / "model.pth"
        path.write_bytes(model_file().read_bytes())
        calc = DeepPotCalculator(path)
        path.write_bytes(model_file(seed=5).read_bytes())
        calc.set(dtype="float32")
        path.unlink()
        calc.set(dtype=None)
        expected = DeepPotCalculator(model_file()).get_forces(random_atoms(6))
        np.testing.assert_array_equal(calc.get_forces(random_atoms(6)), expected)

    def test_model(self, atoms, model_file):
        other = model_file(seed=5, rcut=3.0)
        before = atoms.get_forces()
        assert atoms.calc.set(model=other) == {"model": str(other)}
        assert atoms.calc.card.rcut == 3.0
        expected = random_atoms(6)
        expected.calc = DeepPotCalculator(other)
        np.testing.assert_array_equal(atoms.get_forces(), expected.get_forces())
        assert abs(atoms.get_forces() - before).max() > 1e-3

    def test_reset(self, atoms, count):
        atoms.get_potential_energy()
        atoms.calc.reset()
        assert atoms.calc.results == {}
        atoms.get_potential_energy()
        assert len(count) == 2


def test_todict_is_json_and_makes_an_equal_calculator(model_file):
    calc = DeepPotCalculator(model_file(), skin=0.5, dtype="float32")  # a Path
    text = json.dumps(calc.todict())
    assert json.loads(text) == {"model": str(model_file()), "skin": 0.5, "dtype": "float32"}
    again = DeepPotCalculator(**json.loads(text))
    assert again.parameters == calc.parameters


@pytest.mark.parametrize("duplicate", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy],
                         ids=["pickle", "deepcopy"])
class TestCopies:
    def test_equal_results(self, atoms, duplicate):
        before = atoms.get_forces()
        other = duplicate(atoms)
        assert other.calc is not atoms.calc
        assert other.calc.parameters == atoms.calc.parameters
        np.testing.assert_array_equal(other.calc.results["forces"], before)
        other.calc.reset()
        np.testing.assert_array_equal(other.get_forces(), before)

    def test_independent(self, atoms, duplicate):
        before = atoms.get_forces()
        other = duplicate(atoms)
        other.calc.set(dtype="float32")
        other.positions[0] += 0.3
        assert abs(other.get_forces() - before).max() > 1e-3
        np.testing.assert_array_equal(atoms.get_forces(), before)
        assert atoms.calc.card.config.precision == "float64"

    def test_changed_precision_travels(self, atoms, duplicate):
        atoms.calc.set(dtype="float32")
        before = atoms.get_forces()
        other = duplicate(atoms)
        other.calc.reset()
        assert other.calc.card.config.precision == "float32"
        np.testing.assert_allclose(other.get_forces(), before, atol=1e-5)

    @needs_numba
    def test_of_a_calculator_whose_threads_have_started(self, atoms, duplicate, monkeypatch):
        monkeypatch.setattr("ase_deeppot.potential.compiled.PAIRS_PER_THREAD", 1)
        torch.set_num_threads(2)
        try:
            before = atoms.get_forces()
            other = duplicate(atoms)
            other.calc.reset()
            np.testing.assert_allclose(other.get_forces(), before, rtol=0, atol=1e-12)
        finally:
            torch.set_num_threads(1)

    def test_need_no_file(self, model_file, tmp_path, duplicate):
        path = tmp_path / "moved.pth"
        path.write_bytes(model_file().read_bytes())
        calc = DeepPotCalculator(path)
        path.unlink()
        assert np.isfinite(duplicate(calc).get_potential_energy(random_atoms(3)))


@pytest.mark.parametrize("skin", [0, 0.5, 2.0])
def test_skin_changes_nothing_along_a_trajectory(calculator, skin):
    rng = np.random.default_rng(0)
    kept, fresh = random_atoms(8), random_atoms(8)
    kept.calc = calculator(skin=skin)
    for step in range(25):
        kept.positions += rng.normal(scale=0.05, size=(8, 3))
        kept.set_cell(kept.cell * (1 + 0.003 * rng.normal()), scale_atoms=True)
        if step == 12:
            kept.wrap()
        if step == 18:
            kept.pbc = (True, False, True)
        fresh = kept.copy()
        fresh.calc = calculator(skin=0)
        np.testing.assert_allclose(kept.get_potential_energy(), fresh.get_potential_energy(), rtol=1e-13)
        np.testing.assert_allclose(kept.get_forces(), fresh.get_forces(), atol=1e-12)
        np.testing.assert_allclose(kept.get_stress(), fresh.get_stress(), atol=1e-13)
