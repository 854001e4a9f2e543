"""Second derivatives: phonons of the crystal, vibrations of a cluster."""

import numpy as np
import pytest
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.phonons import Phonons
from ase.vibrations import Vibrations
from builders import random_atoms
from superlattice import tetrahedron

from ase_deeppot import DeepPotCalculator

MEV = 1e-3


def relaxed(crystal):
    atoms = crystal.primitive
    atoms.calc = DeepPotCalculator(crystal.model)
    BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-5, steps=100)
    return atoms


def test_phonons_of_the_crystal(crystal, tmp_path):
    atoms = relaxed(crystal)
    phonons = Phonons(atoms, DeepPotCalculator(crystal.model), supercell=crystal.supercell, delta=3e-3,
                      name=str(tmp_path / "phonons"))
    phonons.run()
    phonons.read(acoustic=True)
    path = atoms.cell.bandpath(npoints=40)
    energies = phonons.get_band_structure(path, verbose=False).energies[0]  # imaginary ones would be negative
    at_gamma = np.all(abs(path.kpts) < 1e-12, axis=1)
    assert abs(np.sort(abs(energies[at_gamma]))[:, :3]).max() < 0.1 * MEV
    assert energies[~at_gamma].min() > 0
    assert energies.max() == pytest.approx(crystal.highest_phonon * MEV, rel=0.2)


@pytest.fixture
def molecule(kind, request):
    """Atoms that hold together: any four with random weights, of the trained superlattice a centre and its bonds."""
    atoms = tetrahedron() if kind == "local_frame" else random_atoms(4, cell=np.eye(3) * 3.0, pbc=False, seed=2)
    file = request.getfixturevalue("superlattice_model" if kind == "local_frame" else "model_file")
    atoms.calc = DeepPotCalculator(file if kind == "local_frame" else file())
    return atoms


def test_vibrations_of_a_molecule(molecule, tmp_path):
    """Against the Hessian from finite differences of the energy; six modes of a free cluster are zero."""
    atoms = molecule
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


def test_elastic_response_has_the_right_sign(crystal):
    atoms = relaxed(crystal)
    atoms.set_cell(atoms.cell * 1.01, scale_atoms=True)
    bulk_modulus = np.mean(atoms.get_stress()[:3]) / 0.03
    assert bulk_modulus == pytest.approx(crystal.bulk_modulus, rel=0.35)
