"""Geometry and cell optimisation with trained models."""

import numpy as np
import pytest
from ase.constraints import FixAtoms
from ase.filters import FrechetCellFilter, StrainFilter
from ase.optimize import BFGS, FIRE, LBFGS

from ase_deeppot import DeepPotCalculator


@pytest.fixture
def rattled(crystal):
    atoms = crystal.atoms.copy()
    atoms.rattle(0.1, seed=0)
    atoms.calc = DeepPotCalculator(crystal.model)
    return atoms


@pytest.mark.parametrize("optimizer", [BFGS, LBFGS, FIRE])
def test_atoms(rattled, optimizer):
    before = rattled.get_potential_energy()
    assert optimizer(rattled, logfile=None).run(fmax=1e-4, steps=300)
    assert abs(rattled.get_forces()).max() < 1e-4
    assert rattled.get_potential_energy() < before - 0.01


def test_cell_and_atoms(rattled, crystal):
    rattled.set_cell(rattled.cell[:] @ [[1.02, 0.01, 0], [0, 0.98, 0.02], [0, 0, 1.01]], scale_atoms=True)
    assert BFGS(FrechetCellFilter(rattled), logfile=None).run(fmax=1e-4, steps=300)
    assert abs(rattled.get_stress()).max() < 1e-5
    np.testing.assert_allclose(rattled.cell.lengths(), crystal.atoms.cell.lengths(), atol=0.05)
    np.testing.assert_allclose(rattled.cell.angles(), crystal.atoms.cell.angles(), atol=1.0)


def test_cell_alone(crystal):
    atoms = crystal.primitive
    rest = atoms.cell.lengths()
    atoms.set_cell(atoms.cell * 1.03, scale_atoms=True)
    atoms.calc = DeepPotCalculator(crystal.model)
    assert BFGS(StrainFilter(atoms), logfile=None).run(fmax=1e-4, steps=100)
    np.testing.assert_allclose(atoms.cell.lengths(), rest, rtol=0.015)
    assert abs(atoms.get_stress()).max() < 1e-4


@pytest.mark.filterwarnings("ignore::ase_deeppot.DomainWarning")  # copper's model was trained on bulk
def test_slab_with_fixed_layers(crystal):
    """Periodic in two directions, with vacuum: optimised with ASE's constraints."""
    slab = crystal.slab
    slab.set_constraint(FixAtoms([0]))
    slab.rattle(0.03, seed=1)
    before = slab.positions.copy()
    slab.calc = DeepPotCalculator(crystal.model)
    assert not slab.pbc[2]
    assert FIRE(slab, logfile=None).run(fmax=0.02, steps=300)
    moved = np.linalg.norm(slab.positions - before, axis=1)
    assert moved[0] == 0.0
    assert (moved[1:] > 1e-3).all()


def test_a_molecule_with_local_frames(alcohol_model, ethanol):
    """Downhill, but not to the end: in the minimum hydrogens of CH3 are equally far from others, so energies jump."""
    ethanol.calc = DeepPotCalculator(alcohol_model)
    bonds, before, forces = ethanol.get_all_distances() < 1.7, ethanol.get_potential_energy(), ethanol.get_forces()
    BFGS(ethanol, logfile=None, maxstep=0.05).run(fmax=0.1, steps=100)
    assert abs(ethanol.get_forces()).max() < 0.3 * abs(forces).max()
    assert ethanol.get_potential_energy() < before - 0.02
    np.testing.assert_array_equal(ethanol.get_all_distances() < 1.7, bonds)
