"""A model that tells atoms apart by their bonds, as a calculator: molecules that vibrate, turn and do not react."""

import copy
import pickle

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.calculator import InputError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet
from builders import random_model

from ase_deeppot import DeepPotCalculator
from ase_deeppot.bonds import ROOM, species_names
from ase_deeppot.potential.archive import save_model
from ase_deeppot.structures import from_atoms


def ethanols(pbc=True):
    """Two molecules beside each other, one of them cut by the cell."""
    one, other = molecule("CH3CH2OH"), molecule("CH3CH2OH")
    other.rotate(70, (1, 2, 3))
    other.translate((0.3, 3.9, 0.4))
    both = one + other
    both.set_cell([[6.5, 0, 0], [0.5, 7.5, 0], [0, -0.4, 6.0]])
    both.pbc = pbc
    if pbc:
        both.wrap()
    return both


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """Function: path of a random model for these molecules."""
    folder = tmp_path_factory.mktemp("bonded")

    def path(seed=0, order=1, bonds=2):
        file = folder / f"{seed}-{order}-{bonds}.pth"
        names = sorted(set(species_names(from_atoms(ethanols()), bonds)))[::order]
        save_model(file, random_model(names, seed=seed))
        return file

    return path


@pytest.fixture
def atoms(model_file):
    made = ethanols()
    made.calc = DeepPotCalculator(model_file())
    return made


def test_atoms_of_an_element_are_told_apart(atoms, model_file):
    of_hydrogen = atoms.get_potential_energies()[[k for k, a in enumerate(atoms) if a.symbol == "H"]]
    assert len(atoms.calc.card.type_map) == 6
    assert atoms.calc.card.elements == ("C", "H", "O")
    assert np.ptp(of_hydrogen) > 0.1


def test_forces_and_stress_are_derivatives(atoms):
    atoms.rattle(0.05, seed=1)
    np.testing.assert_allclose(atoms.get_forces(), calculate_numerical_forces(atoms, eps=1e-4), atol=2e-6)
    np.testing.assert_allclose(atoms.get_stress(), calculate_numerical_stress(atoms, eps=1e-5), atol=1e-7)


def test_order_and_images_do_not_count(atoms):
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    rng = np.random.default_rng(2)
    order = rng.permutation(len(atoms))
    moved = atoms[order]
    moved.positions += rng.integers(-2, 3, moved.positions.shape) @ moved.cell.array
    for calc in (atoms.calc, DeepPotCalculator(atoms.calc.parameters["model"])):
        moved.calc = calc
        assert moved.get_potential_energy() == pytest.approx(energy, abs=1e-10)
        np.testing.assert_allclose(moved.get_forces(), forces[order], atol=1e-10)


def test_results_do_not_depend_on_the_steps_before(atoms):
    """From one search for bonds to the next, and after it: they are those of a calculator that has seen nothing."""
    thermalize_momenta(atoms, temperature_K=300, rng=np.random.default_rng(4))
    dynamics, start = VelocityVerlet(atoms, 0.1 * units.fs), atoms.positions.copy()
    for _ in range(20):
        dynamics.run(5)
        fresh = atoms.copy()
        fresh.calc = DeepPotCalculator(atoms.calc.parameters["model"])
        assert atoms.get_potential_energy() == pytest.approx(fresh.get_potential_energy(), abs=1e-9)
    assert np.linalg.norm(atoms.positions - start, axis=1).max() > ROOM / 2  # so that bonds were looked for again


def test_a_molecule_that_reacts_is_refused_by_name(atoms):
    atoms.positions[8] += (2.0, 2.0, 2.0)
    for _ in range(2):
        with pytest.raises(InputError, match=r"expected species of the model .* got \S+, atom \d+: the model tells "
                                             "atoms apart by their bonds"):
            atoms.get_potential_energy()
    atoms.positions[8] -= (2.0, 2.0, 2.0)
    assert np.isfinite(atoms.get_potential_energy())


def test_another_molecule_is_refused(atoms):
    methane = molecule("CH4")
    methane.calc = atoms.calc
    with pytest.raises(InputError, match="expected species of the model"):
        methane.get_potential_energy()


def test_copies_are_as_good(atoms):
    energy = atoms.get_potential_energy()
    for calc in (copy.deepcopy(atoms.calc), pickle.loads(pickle.dumps(atoms.calc))):
        again = Atoms(atoms)
        again.calc = calc
        assert again.get_potential_energy() == energy


def test_models_of_a_committee_may_have_their_species_in_another_order(model_file):
    atoms, alone = ethanols(), []
    for order in (1, -1):
        atoms.calc = DeepPotCalculator(model_file(seed=order + 3, order=order))
        alone.append(atoms.get_forces())
    atoms.calc = DeepPotCalculator([model_file(seed=order + 3, order=order) for order in (1, -1)])
    np.testing.assert_allclose(atoms.get_forces(), np.mean(alone, axis=0), atol=1e-12)
