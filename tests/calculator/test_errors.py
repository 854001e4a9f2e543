"""What cannot be calculated is said in one line that names it."""

import copy
import warnings

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, InputError

from ase_deeppot import DeepPotCalculator
from ase_deeppot.errors import ModelFileError
from ase_deeppot.watch import DiscontinuityWarning, DomainWarning


def water(calc):
    return Atoms("OHH", [[0, 0, 0], [0.95, 0.1, 0], [-0.3, 0.9, 0.2]], cell=[6, 6, 6], calculator=calc)


def fails(atoms, error, message):
    for _ in range(2):  # the second time, ASE sees no changes
        with pytest.raises(error, match=message) as caught:
            atoms.get_potential_energy()
        assert "\n" not in str(caught.value)
    assert atoms.calc.results == {}


def test_unknown_element(calculator):
    atoms = Atoms("OCuFe", [[0, 0, 0], [2, 0, 0], [0, 2, 0]], calculator=calculator())
    fails(atoms, InputError, r"expected elements of the model \(H, O\), got Fe, Cu|got Cu, Fe")


def test_no_element(calculator):
    fails(Atoms("X", calculator=calculator()), InputError, "got X")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_position_that_is_no_number(calculator, value):
    atoms = water(calculator())
    atoms.positions[1, 2] = value
    fails(atoms, InputError, "expected finite positions, got .* for atom 1")


def test_cell_that_is_no_number(calculator):
    atoms = water(calculator())
    atoms.cell[1, 0] = np.nan
    fails(atoms, InputError, "expected a finite cell")


@pytest.mark.parametrize("cell", [None, [6, 0, 6], [[6, 0, 0], [0, 0, 0], [0, 0, 6]]])
def test_periodic_direction_without_cell_vector(calculator, cell):
    atoms = Atoms("O", cell=cell, pbc=True, calculator=calculator())
    fails(atoms, InputError, "expected a cell vector along periodic direction [01].*set the cell, or pbc=False")


def test_dependent_cell_vectors(calculator):
    atoms = Atoms("O", cell=[[6, 0, 0], [0, 6, 0], [6, 6, 0]], pbc=True, calculator=calculator())
    fails(atoms, InputError, "expected independent cell vectors")


def test_atoms_at_the_same_place(calculator):
    atoms = water(calculator())
    atoms.positions[2] = atoms.positions[1]
    fails(atoms, CalculationFailed, "atoms 1 and 2 are at the same place")


def test_atom_on_the_image_of_another(calculator):
    atoms = water(calculator())
    atoms.pbc = True
    atoms.positions[2] = atoms.positions[1] + [6, -12, 0]
    fails(atoms, CalculationFailed, "atoms 1 and 2 are at the same place")


def test_result_that_is_no_number(calculator):
    """Atoms that nearly coincide overflow the nets' float32 numbers or divide by zero."""
    atoms = water(calculator(dtype="float32"))
    atoms.positions[2] = atoms.positions[1] + [1e-170, 0, 0]
    fails(atoms, CalculationFailed, "expected finite energies and forces, got|at the same place")


def test_usable_after_every_failure(calculator):
    atoms = water(calculator())
    energy = atoms.get_potential_energy()
    good = atoms.positions.copy()
    atoms.positions[0] = np.nan
    fails(atoms, InputError, "finite positions")
    atoms.positions[0] = atoms.positions[1]
    fails(atoms, CalculationFailed, "same place")
    atoms.positions = good
    assert atoms.get_potential_energy() == energy


def test_a_failed_direct_call_leaves_no_stale_results(calculator):
    calc = calculator()
    good, bad = water(None), water(None)
    bad.positions[0] = bad.positions[1]
    calc.calculate(good)
    with pytest.raises(CalculationFailed):
        calc.calculate(bad)
    with pytest.raises(CalculationFailed):
        calc.get_potential_energy(bad)


class TestParameters:
    def test_unknown_keyword(self, model_file):
        with pytest.raises(InputError, match=r"unknown parameter 'dytpe'; did you mean 'dtype'\?$"):
            DeepPotCalculator(model_file(), dytpe="float32")
        with pytest.raises(InputError, match="unknown parameter 'xyz'; known: device, dtype, head, model, skin"):
            DeepPotCalculator(model_file(), xyz=1)

    @pytest.mark.parametrize("dtype", ["float16", float, "double"])
    def test_dtype(self, model_file, dtype):
        with pytest.raises(InputError, match="expected dtype 'float64', 'float32' or None, got"):
            DeepPotCalculator(model_file(), dtype=dtype)

    @pytest.mark.parametrize("skin", [-0.1, np.nan, np.inf, "1", None, 1j])
    def test_skin(self, model_file, skin):
        with pytest.raises(InputError, match="expected skin >= 0"):
            DeepPotCalculator(model_file(), skin=skin)

    @pytest.mark.parametrize("device", ["gpu", "cuda:99", "cpu:x", "", 7, None])
    def test_device(self, model_file, device):
        with pytest.raises(InputError, match=rf"^expected a device that works here, .*, got {device!r}: ."):
            DeepPotCalculator(model_file(), device=device)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA device")
    def test_a_gpu_that_is_not_there_says_why(self, model_file):
        with pytest.raises(InputError, match=r"got 'cuda': .*(CUDA|NVIDIA)"):
            DeepPotCalculator(model_file(), device="cuda")

    def test_missing_model(self, tmp_path):
        with pytest.raises(ModelFileError, match=r"cannot read model .*no\.pth: No such file"):
            DeepPotCalculator(tmp_path / "no.pth")

    def test_foreign_model(self, tmp_path):
        (tmp_path / "foreign.pth").write_text("hello")
        with pytest.raises(ModelFileError, match=r"foreign\.pth: expected a model file"):
            DeepPotCalculator(str(tmp_path / "foreign.pth"))

    @pytest.mark.parametrize("bad", [{"dtype": "half"}, {"skin": -1}, {"colour": 1}, {"model": "no-such.pth"}])
    def test_a_refused_change_changes_nothing(self, calculator, bad):
        atoms = water(calculator())
        energy, parameters = atoms.get_potential_energy(), dict(atoms.calc.parameters)
        with pytest.raises((InputError, ModelFileError)):
            atoms.calc.set(**bad)
        assert dict(atoms.calc.parameters) == parameters
        assert atoms.calc.results["energy"] == energy

    def test_a_refused_model_is_not_what_gets_pickled(self, calculator, tmp_path):
        calc = calculator()
        calc.calculate(water(None))
        energy = calc.results["energy"]
        (tmp_path / "foreign.pth").write_text("hello")
        with pytest.raises(ModelFileError):
            calc.set(model=tmp_path / "foreign.pth")
        again = copy.deepcopy(calc)
        again.calculate(water(None))
        assert again.results["energy"] == energy


class TestDomainWarning:
    def calculator(self, model_file):
        return DeepPotCalculator(model_file(smallest_distance={"H-O": 0.9, "H-H": 1.4}))

    def test_is_given_once_and_names_the_pair(self, model_file, kind):
        atoms = water(self.calculator(model_file))
        atoms.positions[1] = [0.7, 0, 0]
        end = "; below 0.80 A its series have ended and go on as straight lines" if kind == "smooth" else ""
        message = ("^H-O distance of 0.70 A; the smallest in the training data is 0.90 A, so energies and forces are "
                   f"extrapolated{end}$")
        with pytest.warns(DomainWarning, match=message) as seen:
            atoms.get_potential_energy()
        assert len(seen) == 1
        atoms.positions[1] = [0.6, 0, 0]
        atoms.get_potential_energy()  # warnings are errors here

    def test_within_the_series_nothing_is_said_of_its_end(self, model_file):
        atoms = water(self.calculator(model_file))
        atoms.positions[1] = [0.805, 0, 0]
        with pytest.warns(DomainWarning, match="^H-O distance of 0.81 A; .* are extrapolated$"):
            atoms.get_potential_energy()

    def test_points_at_the_line_that_asked(self, model_file):
        atoms = water(self.calculator(model_file))
        atoms.positions[1] = [0.7, 0, 0]
        with pytest.warns(DomainWarning) as seen:
            atoms.get_potential_energy()
        assert seen[0].filename == __file__

    def test_is_given_again_for_another_model(self, model_file):
        atoms = water(self.calculator(model_file))
        atoms.positions[1] = [0.7, 0, 0]
        for model in (None, model_file(smallest_distance={"H-O": 1.0})):
            if model:
                atoms.calc.set(model=model)
            with pytest.warns(DomainWarning, match="H-O distance of 0.70 A"):
                atoms.get_potential_energy()

    @pytest.mark.parametrize("distance", [0.82, 0.95])
    def test_is_not_given_for_thermal_motion(self, model_file, distance):
        atoms = water(self.calculator(model_file))
        atoms.positions[1] = [distance, 0, 0]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            atoms.get_potential_energy()

    def test_pairs_of_unknown_range_are_let_pass(self, model_file):
        atoms = Atoms("OO", [[0, 0, 0], [0.5, 0, 0]], calculator=self.calculator(model_file))
        atoms.get_potential_energy()

    def test_results_are_there_even_if_the_warning_is_an_error(self, model_file):
        atoms = water(self.calculator(model_file))
        atoms.positions[1] = [0.7, 0, 0]
        with pytest.raises(DomainWarning):
            atoms.get_potential_energy()
        assert np.isfinite(atoms.get_potential_energy())


class TestLocalFrameWarnings:
    @pytest.fixture
    def kind(self):
        return "local_frame"

    def test_jumps_are_told_when_the_model_is_loaded_and_not_again(self, model_file):
        with pytest.warns(DiscontinuityWarning) as seen:
            calc = DeepPotCalculator(model_file(seed=0))
        assert [str(warning.message) for warning in seen] == [
            "a local-frame model is not continuous: forces jump by up to 0.25 eV/A in its training data when a "
            "neighbour crosses the cutoff, and also where neighbours change their order; use a smooth model "
            "(DeepPot-SE) for NVE dynamics"]
        assert seen[0].filename == __file__
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            calc.set(skin=0.3, dtype="float32")
            copy.deepcopy(calc)
            water(calc).get_potential_energy()

    def test_neighbours_without_a_slot_are_told_once(self, model_file):
        atoms = water(DeepPotCalculator(model_file(sel_a={"H": 1, "O": 1}, sel_r={"H": 0, "O": 1})))
        message = "^1 of 6 neighbours have no slot .sel_a . sel_r. in this model: the farthest of each atom are left"
        with pytest.warns(DomainWarning, match=message) as seen:
            atoms.get_potential_energy()
        assert len(seen) == 1
        atoms.rattle(0.01)
        atoms.get_potential_energy()
        assert np.isfinite(atoms.get_forces()).all()

    def test_enough_slots_are_not_worth_a_word(self, model_file):
        water(DeepPotCalculator(model_file())).get_potential_energy()
