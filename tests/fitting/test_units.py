"""Other units are seen, and eV and Angstrom raise no suspicion."""

import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from labelled_atoms import labelled, random_atoms

from ase_deeppot.fitting.frames import Frames, concatenate
from ase_deeppot.fitting.sources import read_frames
from ase_deeppot.fitting.summary import summarise
from ase_deeppot.fitting.units import suspect_units
from ase_deeppot.resources import find

DATA = Path(__file__).parents[3] / "shared" / "data"


def suspected(frames: Frames) -> list[str]:
    return suspect_units([(frames, summarise(frames))])


WATER = -76.4 * 27.211386  # eV, an all-electron total energy


def water(scale: float = 1.0, energy: float = 1.0, force: float = 1.0, stress: float = 1.0) -> Frames:
    rng = np.random.default_rng(0)
    images = []
    for _ in range(4):
        atoms = Atoms("OHH", [[0, 0, 0], [0.96, 0, 0], [0, 0.96, 0]], cell=3 * np.eye(3), pbc=True)
        atoms.rattle(0.05, rng=rng)
        atoms.set_cell(scale * atoms.cell, scale_atoms=True)
        atoms.calc = SinglePointCalculator(atoms, energy=energy * (WATER + rng.normal()),
                                           forces=force * rng.normal(size=(3, 3)),
                                           stress=stress * rng.normal(size=6, scale=0.01))
        images.append(atoms)
    return read_frames(images)[0]


@pytest.mark.parametrize(("changes", "message"), [
    ({"scale": 0.1}, r"memory frame \d: atoms 0\.0\d+ A apart; are positions in A, not nm or scaled\?"),
    ({"force": 100.0}, r"memory: forces of RMS \S+ eV/A; are they in eV/A\?"),
    ({"force": 1e-5}, r"memory: forces of RMS \S+e-0[56] eV/A; are they in eV/A\?"),
    ({"stress": 1602.0}, r"memory: a stress of \d\d(\.\d+)? eV/A\^3; is it in eV/A\^3, not GPa or kbar\?"),
    ({"energy": 1 / 27.2114}, "memory: energies look like all-electron energies in Hartree; expected eV"),
    ({"energy": 23.0605}, "memory: energies look like all-electron energies in kcal/mol; expected eV"),
    ({"energy": 96.485}, "memory: energies look like all-electron energies in kJ/mol; expected eV"),
])
def test_other_units_in_one_source(changes: dict, message: str) -> None:
    assert suspected(water()) == []
    (finding,) = suspected(water(**changes))
    assert re.fullmatch(f"Atoms in {message}", finding)


@pytest.mark.parametrize(("changes", "messages"), [
    ({"energy": 1.001, "force": 2.0}, []),
    ({"energy": 0.2, "force": 0.5}, []),  # other pseudopotentials
    ({"force": 1 / 51.422}, ["RMS forces differ by a factor 51.4; is one of them in Hartree/Bohr?"]),
    ({"force": 23.06}, ["RMS forces differ by a factor 23.1; is one of them in kcal/mol/A?"]),
    ({"energy": 0.3 / 27.2114}, []),
])
def test_other_units_beside_another_source(changes: dict, messages: list[str]) -> None:
    findings = suspected(concatenate([water(), water(**changes)]))
    assert findings == [f"Atoms in memory and Atoms in memory: {message}" for message in messages]


def test_energies_in_hartree_beside_others() -> None:
    pseudo = 0.2259  # of the all-electron energy
    findings = suspected(concatenate([water(energy=pseudo), water(energy=pseudo / 27.2114)]))
    assert findings == ["Atoms in memory and Atoms in memory: energies per atom differ by a factor 27.2; "
                        "is one of them in Hartree?"]


def test_unlabelled_and_single_atoms_raise_no_suspicion() -> None:
    atoms = Atoms("H", positions=[[0, 0, 0]])
    atoms.calc = SinglePointCalculator(atoms, energy=-13.6, forces=np.zeros((1, 3)))
    bare = labelled(random_atoms(np.random.default_rng(0), 2), np.random.default_rng(0), "forces")
    assert suspected(concatenate([read_frames(atoms)[0], read_frames(bare)[0]])) == []


@pytest.mark.skipif(not DATA.exists(), reason="the collected benchmark sets are not beside the repository")
def test_published_sets() -> None:
    frames, reports = read_frames([DATA / "mlearn_Cu/train.extxyz", f"{DATA}/water_dplr/all.extxyz@:10",
                                   DATA / "rmd17_ethanol/isolated_atoms.extxyz"])
    assert [report[1:5] for report in reports] == [(262, 262, 262, 197), (10, 10, 10, 10), (4, 4, 0, 0)]
    assert suspected(frames) == []


@pytest.mark.parametrize("periodic", [False, True])
def test_the_shortest_distance_is_across_the_boundary(periodic: bool) -> None:
    cell = np.array([[5.0, 0, 0], [2.4, 4, 0], [-1, 1, 6]])
    atoms = Atoms("H2", [[0.05, 0, 0], cell.sum(0) - [0.05, 0, 0]], cell=cell, pbc=periodic)
    labelled(atoms, np.random.default_rng(0), "forces")
    assert len(suspected(read_frames(atoms)[0])) == periodic


@pytest.mark.parametrize("molecule", ["water", "methanol", "ethanol", "methanol-methanol"])
def test_valence_energies_of_the_bundled_molecules_are_not_suspected(molecule):
    """Those of ethanol in eV are, by chance, near its all-electron energy in Rydberg."""
    frames, _ = read_frames(f"{find('examples/data/alcohols.db')}@molecule={molecule}")
    assert suspected(frames) == []
