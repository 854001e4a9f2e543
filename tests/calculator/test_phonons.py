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


def test_vibrations_of_a_molecule(smooth_only, calculator, tmp_path):
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
