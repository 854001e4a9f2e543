"""What ASE expects of a calculator: properties, types, sums, signs."""

import json

import numpy as np
import oracles
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_properties
from ase.calculators.fd import FiniteDifferenceCalculator, calculate_numerical_forces
from ase.io import read, write
from builders import SKEWED, card_as_written, predict, random_atoms, types_in

from ase_deeppot import DeepPotCalculator

PERIODICITIES = [(x, y, z) for x in (False, True) for y in (False, True) for z in (False, True)]


@pytest.fixture
def atoms(calculator):
    atoms = random_atoms(8)
    atoms.calc = calculator()
    return atoms


def test_is_an_ase_calculator(calculator):
    calc = calculator()
    assert isinstance(calc, Calculator)
    assert calc.name == "deeppot"
    assert set(calc.implemented_properties) == {"energy", "free_energy", "energies", "forces", "stress", "stresses"}


def test_results_have_ases_names_types_and_shapes(atoms):
    atoms.get_potential_energy()
    assert set(atoms.calc.results) == set(atoms.calc.implemented_properties) - {"stresses"}  # only where asked for
    atoms.get_stresses()
    results = atoms.calc.results
    assert set(results) == set(atoms.calc.implemented_properties) <= set(all_properties)
    assert type(results["energy"]) is float
    assert type(results["free_energy"]) is float
    shapes = {"energies": (8,), "forces": (8, 3), "stress": (6,), "stresses": (8, 6)}
    for name, shape in shapes.items():
        assert results[name].shape == shape
        assert results[name].dtype == np.float64
    json.dumps(results["energy"])


def test_sums(atoms):
    atoms.get_stresses()
    results = atoms.calc.results
    assert results["energies"].sum() == results["energy"] == results["free_energy"]
    np.testing.assert_allclose(results["stresses"].sum(axis=0), results["stress"], rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(results["forces"].sum(axis=0), 0.0, atol=1e-12)


def test_getters_of_atoms(atoms):
    energy = atoms.get_potential_energy()
    assert atoms.get_potential_energy(force_consistent=True) == energy
    assert atoms.get_potential_energies().sum() == energy
    assert atoms.get_stress(voigt=False).shape == (3, 3)
    assert atoms.get_stresses().shape == (8, 6)
    assert atoms.get_stresses(voigt=False).shape == (8, 3, 3)
    np.testing.assert_array_equal(atoms.get_stress(voigt=False), atoms.get_stress(voigt=False).T)
    assert atoms.get_properties(["energy", "forces", "stress"])["energy"] == energy


def test_the_calculator_says_what_the_model_says(atoms, model):
    expected = predict(model, atoms)
    np.testing.assert_allclose(atoms.get_potential_energies(), expected.energies, rtol=1e-12)
    np.testing.assert_allclose(atoms.get_forces(), expected.forces, atol=1e-11)
    np.testing.assert_allclose(atoms.calc.virial, expected.virials.sum(0), atol=1e-11)
    np.testing.assert_allclose(atoms.get_stress(voigt=False) * atoms.get_volume(), -atoms.calc.virial, atol=1e-11)


@pytest.mark.parametrize("pbc", PERIODICITIES)
def test_mixed_periodicity_against_explicit_images(calculator, pbc, model):
    atoms = random_atoms(4, seed=2, cell=0.7 * SKEWED, pbc=pbc)
    atoms.calc = calculator()
    expected = oracles.total_energy(model, types_in(model, atoms), atoms.positions,
                                    atoms.cell[:], pbc)
    # more neighbours than sel would be dropped there; the oracle refuses those
    assert atoms.get_potential_energy() == pytest.approx(expected, rel=1e-12)


def test_cell_vectors_along_open_directions_do_not_matter(calculator):
    slab = random_atoms(6, pbc=(True, True, False))
    wire = slab.copy()
    wire.cell[2] = [0.3, 0.1, 77.0]
    none = slab.copy()
    none.cell[2] = 0.0
    energies = []
    for atoms in (slab, wire, none):
        atoms.calc = calculator()
        energies.append(atoms.get_potential_energy())
    np.testing.assert_allclose(energies, energies[0], rtol=1e-13)


@pytest.mark.parametrize("pbc", [False, (True, False, True), True])
def test_forces_and_stress_against_ases_finite_differences(atoms, pbc):
    atoms.pbc = pbc
    numerical = atoms.copy()
    numerical.calc = FiniteDifferenceCalculator(atoms.calc, eps_disp=1e-4, eps_strain=1e-4)
    np.testing.assert_allclose(atoms.get_forces(), numerical.get_forces(), atol=1e-5)
    np.testing.assert_allclose(atoms.get_stress(), numerical.get_stress(), atol=1e-5 / atoms.get_volume() * 100)


def test_float32_model(calculator):
    exact, rounded = random_atoms(8), random_atoms(8)
    exact.calc, rounded.calc = calculator(), calculator(dtype="float32")
    assert rounded.get_forces().dtype == np.float64
    assert 0 < abs(rounded.get_forces() - exact.get_forces()).max() < 1e-3
    assert rounded.get_potential_energy() == pytest.approx(exact.get_potential_energy(), rel=1e-6)
    assert rounded.calc.card.config.precision == "float32"


class TestSpecialStructures:
    def test_no_atoms(self, calculator):
        atoms = Atoms(calculator=calculator())
        assert atoms.get_potential_energy() == 0.0
        assert atoms.get_forces().shape == (0, 3)
        np.testing.assert_array_equal(atoms.calc.virial, np.zeros((3, 3)))

    def test_no_atoms_in_a_periodic_cell(self, calculator):
        atoms = Atoms(cell=[3, 3, 3], pbc=True, calculator=calculator())
        np.testing.assert_array_equal(atoms.get_stress(), np.zeros(6))
        assert atoms.get_stresses().shape == (0, 6)

    def test_one_atom_alone(self, calculator, model):
        atoms = Atoms("O", calculator=calculator())
        expected = oracles.energies_of(model, [1], [[]])[0]
        assert atoms.get_potential_energy() == pytest.approx(expected, rel=1e-12)
        np.testing.assert_array_equal(atoms.get_forces(), [[0, 0, 0]])

    def test_one_atom_that_sees_its_own_images(self, calculator):
        """In a cell without right angles: a shear would split images that are equally far, and local frames jump."""
        atoms = Atoms("O", cell=[[2.5, 0, 0], [0.4, 2.6, 0], [0.3, -0.5, 2.7]], pbc=True, calculator=calculator())
        np.testing.assert_allclose(atoms.get_forces(), 0.0, atol=1e-12)
        assert atoms.get_potential_energy() != Atoms("O", calculator=calculator()).get_potential_energy()
        numerical = FiniteDifferenceCalculator(calculator(), eps_strain=1e-4)
        np.testing.assert_allclose(atoms.get_stress(), numerical.get_stress(atoms), atol=1e-6)

    def test_atoms_out_of_reach_of_each_other(self, calculator):
        atoms = Atoms("OO", [[0, 0, 0], [100, 0, 0]], calculator=calculator())
        alone = Atoms("O", calculator=calculator()).get_potential_energy()
        assert atoms.get_potential_energy() == pytest.approx(2 * alone, rel=1e-13)  # products of one row and of two

    def test_one_element_of_several(self, calculator, model):
        atoms = random_atoms(5, ["H"])
        atoms.calc = calculator()
        np.testing.assert_allclose(atoms.get_forces(), predict(model, atoms).forces, atol=1e-11)


class TestSharedWithASE:
    """The checks that ASE's own test suite makes of calculators."""

    def test_h2_traj(self, calculator, tmp_path):
        """As ase/test/calculator/test_traj.py."""
        h2 = molecule("H2")
        h2.center(vacuum=2.0)
        h2.pbc = True
        h2.calc = calculator()
        energy = h2.get_potential_energy()
        assert not h2.calc.calculation_required(h2, ["energy"])
        forces = h2.get_forces()
        assert not h2.calc.calculation_required(h2, ["energy", "forces"])
        write(tmp_path / "h2.traj", h2)
        h2 = read(tmp_path / "h2.traj")
        assert h2.get_potential_energy() == energy
        np.testing.assert_array_equal(h2.get_forces(), forces)

    @pytest.mark.parametrize("ideal_gas", [False, True])
    def test_voigt_shapes(self, atoms, ideal_gas):
        """As ase/test/test_stress.py."""
        for voigt, shape in ((True, (6,)), (False, (3, 3))):
            options = {"voigt": voigt, "include_ideal_gas": ideal_gas}
            assert atoms.get_stress(**options).shape == shape
            assert atoms.get_stresses(**options).shape == (len(atoms), *shape)

    def test_forces_of_a_molecule(self, calculator):
        """As ase/test/calculator/test_ch4_energy.py and gradient_test."""
        water = molecule("H2O")
        water.rattle(0.1, seed=0)
        water.calc = calculator()
        np.testing.assert_allclose(water.get_forces(), calculate_numerical_forces(water, 1e-4), atol=1e-5)

    def test_unimplemented_property(self, atoms):
        with pytest.raises(PropertyNotImplementedError):
            atoms.get_dipole_moment()

    def test_calculator_given_to_atoms_by_keyword(self, model_file):
        atoms = random_atoms(3)
        calc = DeepPotCalculator(model_file(), atoms=atoms)
        assert atoms.calc is calc


def test_card(calculator, model):
    assert calculator().card == card_as_written(model)
