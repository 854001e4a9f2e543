"""Second derivatives: phonons of the crystal, vibrations of a cluster."""

import numpy as np
import pytest
from ase.build import bulk
from ase.filters import StrainFilter
from ase.optimize import BFGS
from ase.phonons import Phonons
from ase.vibrations import Vibrations
from builders import random_atoms

from ase_deeppot import DeepPotCalculator

MEV = 1e-3


def relaxed_copper(copper_model):
    atoms = bulk("Cu", a=3.6)
    atoms.calc = DeepPotCalculator(copper_model)
    BFGS(StrainFilter(atoms), logfile=None).run(fmax=1e-5, steps=100)
    return atoms


def test_phonons_of_copper(copper_model, tmp_path):
    atoms = relaxed_copper(copper_model)
    phonons = Phonons(atoms, DeepPotCalculator(copper_model), supercell=(5, 5, 5), delta=0.01,
                      name=str(tmp_path / "phonons"))
    phonons.run()
    phonons.read(acoustic=True)
    path = atoms.cell.bandpath("GXWLGK", npoints=40)
    energies = phonons.get_band_structure(path, verbose=False).energies[0]  # imaginary ones would be negative
    at_gamma = np.all(abs(path.kpts) < 1e-12, axis=1)
    assert abs(energies[at_gamma]).max() < 0.1 * MEV
    assert energies[~at_gamma].min() > 0
    assert 26 * MEV < energies.max() < 40 * MEV  # measured on copper: 30 meV


@pytest.mark.parametrize("kind", ["smooth"])  # with the local frames of these tests, four of five clusters fly apart
def test_vibrations_of_a_molecule(calculator, tmp_path):
    """Against the Hessian from finite differences of the energy; six modes of a free cluster are zero."""
    atoms = random_atoms(4, cell=np.eye(3) * 3.0, pbc=False, seed=2)
    atoms.calc = calculator()
    BFGS(atoms, logfile=None).run(fmax=1e-6, steps=500)
    vibrations = Vibrations(atoms, delta=1e-3, name=str(tmp_path / "vibrations"))
    vibrations.run()
    hessian = vibrations.get_vibrations().get_hessian_2d()
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-6)
    np.testing.assert_allclose(hessian, hessian_of_energy(atoms), atol=1e-3 * abs(hessian).max())
    energies = np.sort(abs(vibrations.get_energies()))
    assert energies[5] < 1 * MEV < energies[6]


def test_force_constants_of_a_crystal_without_symmetry(calculator, tmp_path):
    """By ASE, from forces, against energies along some directions.

    With local frames too: no two neighbours of an atom are equally far, so small displacements change no order, as they
    would in copper.
    """
    atoms = random_atoms(4, seed=2)
    phonons = Phonons(atoms, calculator(), supercell=(1, 1, 1), delta=1e-4, name=str(tmp_path / "phonons"))
    phonons.run()
    phonons.read(symmetrize=0, acoustic=False)
    constants = phonons.get_force_constant()[0]
    largest, h = abs(constants).max(), 1e-3
    assert largest > 0.1
    np.testing.assert_allclose(constants, constants.T, atol=1e-5 * largest)
    np.testing.assert_allclose(constants.reshape(4, 3, 4, 3).sum(2), 0.0, atol=1e-6 * largest)
    for direction in np.random.default_rng(0).normal(size=(3, 4, 3)):
        energies = []
        for shift in (-h, 0.0, h):
            moved = atoms.copy()
            moved.positions += shift * direction
            moved.calc = calculator()
            energies.append(moved.get_potential_energy())
        curvature = (energies[0] - 2 * energies[1] + energies[2]) / h**2
        assert direction.ravel() @ constants @ direction.ravel() == pytest.approx(curvature, abs=1e-3 * largest)


def hessian_of_energy(atoms, h=1e-3):
    n = 3 * len(atoms)
    x0, moved = atoms.positions.copy(), atoms.copy()
    moved.calc = atoms.calc

    def energy(x):
        moved.positions = x0 + x.reshape(-1, 3)
        return moved.get_potential_energy()

    e = h * np.eye(n)
    return np.array([[(energy(e[a] + e[b]) - energy(e[a] - e[b]) - energy(e[b] - e[a]) + energy(-e[a] - e[b]))
                      / (4 * h * h) for b in range(n)] for a in range(n)])


def test_elastic_response_has_the_right_sign(copper_model):
    atoms = relaxed_copper(copper_model)
    atoms.set_cell(atoms.cell * 1.01, scale_atoms=True)
    bulk_modulus = np.mean(atoms.get_stress()[:3]) / 0.03
    assert bulk_modulus == pytest.approx(0.85, rel=0.35)  # eV/A^3; EMT has 134 GPa
