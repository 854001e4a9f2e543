"""Stresses that are not those of the energies, found by strained crystals of EMT; its own stresses raise no alarm."""

import re

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress
from scipy.linalg import expm
from scipy.spatial.transform import Rotation

from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.sources import read_frames
from ase_deeppot.fitting.strain import disagreement, strained_pairs, stresses_unlike_energies


def strained(change=lambda stress: stress, seed=1, count=12, turned=True):
    """Crystals of copper and gold under random strains, each turned another way, with changed stresses."""
    rng, images = np.random.default_rng(seed), []
    crystal = bulk("Cu", cubic=True)
    crystal.symbols[0] = "Au"
    for _ in range(count):
        atoms, strain = crystal.copy(), rng.uniform(-0.02, 0.02, (3, 3))
        turn = Rotation.random(rng=rng).as_matrix() if turned else np.eye(3)
        atoms.set_cell(atoms.cell @ expm(strain + strain.T) @ turn, scale_atoms=True)
        atoms.positions += rng.uniform(-1.0, 1.0, 3)
        atoms.calc = EMT()
        stress = voigt_6_to_full_3x3_stress(atoms.get_stress())
        results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces(),
                   "stress": full_3x3_to_voigt_6_stress(change(stress))}
        atoms.calc = SinglePointCalculator(atoms, **results)
        images.append(atoms)
    return images


def dataset_of(images):
    return Dataset(read_frames(images)[0], ("Cu", "Au"), 4.0)


def found(images):
    return list(stresses_unlike_energies(dataset_of(images)))


def test_energies_follow_from_stresses():
    pairs = strained_pairs(dataset_of(strained()))
    assert len(pairs.energy) == 12
    gap = disagreement(pairs, pairs.virials)
    assert np.sqrt(np.mean(gap**2)) < 0.05 * np.sqrt(np.mean(pairs.energy**2))
    assert np.abs(pairs.energy).max() > 0.01


def test_right_stresses_raise_no_alarm():
    assert found(strained()) == []


def exchange(first, second):
    def change(stress):
        changed = stress.copy()
        for a, b in ((first, second), (second, first)):
            changed[a] = changed[a[::-1]] = stress[b]
        return changed
    return change


@pytest.mark.parametrize(("change", "text"), [
    (lambda stress: -stress, "if they had the other sign"),
    (lambda stress: stress + 0.05 * np.eye(3), r"if the stress of all frames were 0\.0(4[89]|5|5[12]) eV/A\^3 less"),
    (lambda stress: stress - 0.05 * np.eye(3), r"if the stress of all frames were 0\.0(4[89]|5|5[12]) eV/A\^3 more"),
    (exchange((1, 2), (0, 2)), "if yz and xz were exchanged"),
    (exchange((1, 2), (0, 1)), "if yz and xy were exchanged"),
    (exchange((0, 2), (0, 1)), "if xz and xy were exchanged"),
    (lambda stress: np.where(np.eye(3, dtype=bool), stress, -stress), "if yz, xz and xy had the other sign"),
    (lambda stress: exchange((1, 2), (0, 2))(stress + 0.05 * np.eye(3)),
     r"if yz and xz were exchanged and the stress of all frames were 0\.0(4[89]|5|5[12]) eV/A\^3 less"),
    (lambda stress: np.diag(np.diag(stress)[[1, 2, 0]]), "Neither a wrong sign"),
])
def test_what_is_wrong_is_told(change, text):
    (line,) = found(strained(change, turned=False))
    assert re.search(text, line)
    assert line.startswith("Atoms in memory frame ")
    assert 'data.keys.stress = ""' in line


@pytest.mark.parametrize("order", [(1, 2, 0), (2, 0, 1)])
def test_components_in_another_order(order):
    """``ASE's`` yz, xz, xy written by a program, and read, in another order."""
    def change(stress):
        shears = np.array([stress[1, 2], stress[0, 2], stress[0, 1]])[np.argsort(order)]
        return np.diag(np.diag(stress)) + voigt_6_to_full_3x3_stress([0, 0, 0, *shears])
    (line,) = found(strained(change, turned=False))
    assert "if yz, xz, xy were " + ", ".join(("yz", "xz", "xy")[k] for k in order) in line


def test_frames_that_say_nothing():
    """Too few, of different crystals, without stress, or with atoms out of place."""
    wrong = strained(lambda stress: -stress)
    assert found(wrong[:4]) == []
    for k, atoms in enumerate(wrong):
        atoms.rattle(0.1, seed=k)
    assert found([relabelled(atoms) for atoms in wrong]) == []
    assert found([relabelled(atoms, drop=("stress",)) for atoms in strained(lambda stress: -stress)]) == []
    slabs = strained(lambda stress: -stress)
    for atoms in slabs:
        atoms.pbc = (True, True, False)
    assert found([relabelled(atoms) for atoms in slabs]) == []


def relabelled(atoms, drop=()):
    """The same results for atoms that were moved."""
    results = {name: value for name, value in atoms.calc.results.items() if name not in drop}
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms
