"""Sign, convention and domain of the stress."""

import numpy as np
import oracles
import pytest
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_stress
from builders import SKEWED, random_atoms


@pytest.mark.parametrize("cell", [SKEWED, SKEWED[[1, 0, 2]], np.diag([4.9, 5.2, 5.5]) + 2.5 * np.eye(3, k=-1)],
                         ids=["skewed", "left-handed", "triclinic"])
@pytest.mark.parametrize("pbc", [True, (True, False, True), False])
def test_stress_is_the_derivative_by_strain_over_the_volume(calculator, cell, pbc):
    atoms = random_atoms(6, cell=cell, pbc=pbc, seed=1)
    atoms.calc = calculator()

    def energy(strain):
        strained = atoms.copy()
        strained.set_cell(atoms.cell[:] @ (np.eye(3) + strain), scale_atoms=True)
        strained.calc = atoms.calc
        return strained.get_potential_energy()

    expected = oracles.central_difference(energy, np.zeros((3, 3))) / abs(np.linalg.det(cell))
    stress = atoms.get_stress(voigt=False)
    assert abs(stress).max() > 1e-4
    np.testing.assert_allclose(stress, expected, atol=1e-8)
    np.testing.assert_allclose(atoms.get_stress(), calculate_numerical_stress(atoms, 1e-4), atol=1e-6)


def test_voigt_order(calculator):
    atoms = random_atoms(6)
    atoms.calc = calculator()
    s = atoms.get_stress(voigt=False)
    np.testing.assert_array_equal(atoms.get_stress(), [s[0, 0], s[1, 1], s[2, 2], s[1, 2], s[0, 2], s[0, 1]])


def test_supercell_has_the_same_stress(calculator):
    atoms = random_atoms(6)
    large = atoms * (1, 2, 1)
    atoms.calc, large.calc = calculator(), calculator()
    np.testing.assert_allclose(large.get_stress(), atoms.get_stress(), atol=1e-13)


@pytest.mark.parametrize(("cell", "pbc"), [
    (None, False), ([5, 5, 0], False), ([5, 5, 0], (True, True, False)), ([0, 0, 6], (False, False, True)),
    ([[5, 0, 0], [0, 5, 0], [5, 5, 0]], False), ([[0.1, 0.2, 0.3], [0.3, 0.6, 0.9], [0.7, 0.1, 0.3]], False),
    ([[1.1, 2.3, 0.7], [0.3, 0.1, 0.9], [2.5, 4.7, 2.3]], False),
], ids=["none", "two", "slab", "wire", "plane", "parallel", "dependent by rounding"])
def test_without_three_cell_vectors_there_is_a_virial_but_no_stress(calculator, cell, pbc):
    atoms = Atoms("OHH", [[0, 0, 0], [0.9, 0.1, 0], [-0.3, 0.9, 0.2]], cell=cell, pbc=pbc, calculator=calculator())
    assert np.linalg.matrix_rank(atoms.cell[:]) < 3  # ASE's cell.rank counts dependent vectors too
    atoms.get_potential_energy()
    assert {"stress", "stresses"}.isdisjoint(atoms.calc.results)
    assert abs(atoms.calc.virial).max() > 1e-3
    for get in (atoms.get_stress, atoms.get_stresses):
        with pytest.raises(PropertyNotImplementedError, match="expected three independent cell vectors"):
            get()
    assert np.isfinite(atoms.get_forces()).all()  # still usable afterwards


def test_virial_of_a_molecule_is_the_derivative_by_strain(calculator):
    atoms = Atoms("OHH", [[0, 0, 0], [0.9, 0.1, 0], [-0.3, 0.9, 0.2]], calculator=calculator())

    def energy(strain):
        strained = Atoms("OHH", atoms.positions @ (np.eye(3) + strain), calculator=atoms.calc)
        return strained.get_potential_energy()

    expected = -oracles.central_difference(energy, np.zeros((3, 3)))
    atoms.get_potential_energy()
    np.testing.assert_allclose(atoms.calc.virial, expected, atol=1e-8)


def test_a_cell_counts_without_periodicity(calculator):
    atoms = random_atoms(4, pbc=False)
    atoms.calc = calculator()
    np.testing.assert_allclose(atoms.get_stress(voigt=False), -atoms.calc.virial / atoms.get_volume(), atol=1e-14)
