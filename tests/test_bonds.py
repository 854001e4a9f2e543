from collections import Counter

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from hypothesis import given
from hypothesis import strategies as st

from ase_deeppot.bonds import ROOM, SpeciesFinder, bonding, find_bonds, reach, species_names
from ase_deeppot.errors import StructureError
from ase_deeppot.neighbors import VerletList
from ase_deeppot.structures import from_atoms

MOLECULES = {
    "CH3CH2OH": {"C(CHHH)": 1, "C(CHHO)": 1, "H(C)": 5, "H(O)": 1, "O(CH)": 1},
    "CCl4": {"C(ClClClCl)": 1, "Cl(C)": 4},
    "CF4": {"C(FFFF)": 1, "F(C)": 4},
    "C6H6": {"C(CCH)": 6, "H(C)": 6},
    "C2H6SO": {"C(HHHS)": 2, "H(C)": 6, "O(S)": 1, "S(CCO)": 1},
    "Si2H6": {"H(Si)": 6, "Si(HHHSi)": 2},
    "H2": {"H(H)": 2},
    "Cl2": {"Cl(Cl)": 2},
    "HCN": {"C(HN)": 1, "H(C)": 1, "N(C)": 1},
    "NaCl": {"Cl()": 1, "Na()": 1},
}


def names(atoms, bonds):
    return species_names(from_atoms(atoms), bonds)


@pytest.mark.parametrize("name", MOLECULES)
def test_molecules(name):
    assert Counter(names(molecule(name), 1)) == MOLECULES[name]


def test_what_is_two_bonds_away():
    ethanol = molecule("CH3CH2OH")
    assert names(ethanol, 0) == ethanol.get_chemical_symbols()
    assert Counter(name for name in names(ethanol, 2) if name[0] == "H") == {
        "H(C(CHHH))": 3, "H(C(CHHO))": 2, "H(O(CH))": 1}


def water(n, seed=0):
    """Molecules apart from each other, in a cell that cuts through some."""
    rng = np.random.default_rng(seed)
    places = np.stack(np.meshgrid(*[np.arange(n) * 3.2] * 3), axis=-1).reshape(-1, 3)
    atoms = Atoms(cell=[3.2 * n] * 3, pbc=True)
    for place in places:
        one = molecule("H2O")
        one.rotate(rng.uniform(0, 360), rng.normal(size=3))
        one.translate(place)
        atoms += one
    return atoms


@given(seed=st.integers(0, 999), amplitude=st.floats(0.0, 0.12))
def test_neither_order_nor_place_nor_vibration_counts(seed, amplitude):
    rng, atoms = np.random.default_rng(seed), water(3, seed)
    order = rng.permutation(len(atoms))
    moved = atoms[order]
    moved.positions += rng.uniform(-amplitude, amplitude, moved.positions.shape)
    moved.positions += rng.integers(-2, 3, moved.positions.shape) @ moved.cell.array
    assert names(moved, 2) == [names(atoms, 2)[k] for k in order]


def test_a_hydrogen_has_one_bond_to_the_nearest_atom():
    """Oracle: ASE's neighbour list and a loop."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        atoms = Atoms("H6O4C2", rng.uniform(0, 4, (12, 3)))
        i, j, d = neighbor_list("ijd", atoms, 4.0)
        bonds = set()
        for h in range(6):
            ratio = {b: r / (covalent_radii[1] + covalent_radii[atoms.numbers[b]])
                     for a, b, r in zip(i, j, d, strict=True) if a == h}
            nearest = min(ratio, key=ratio.__getitem__)
            bonds |= {frozenset((h, nearest))} if ratio[nearest] < 1.6 else set()
        expected = [sum(h in pair for pair in bonds) for h in range(6)]
        assert [len(name) - len("H()") for name in names(atoms, 1)[:6]] == expected


@given(seed=st.integers(0, 9999), size=st.integers(2, 14), periodic=st.booleans())
def test_bonds_stay_while_no_atom_moves_farther_than_there_is_room(seed, size, periodic):
    rng = np.random.default_rng(seed)
    atoms = Atoms(rng.choice(["H", "C", "O", "F", "Cl", "Na"], size), rng.uniform(0, 4, (size, 3)),
                  cell=np.eye(3) * 5.0 + rng.uniform(-1, 1, (3, 3)), pbc=periodic)
    around = VerletList(reach(set(atoms.symbols)) + ROOM, 0.0)

    def bonds(positions):
        return find_bonds(bonding(atoms.numbers), around.update(positions, atoms.cell.array, atoms.pbc))

    before = bonds(atoms.positions)
    assert 0.0 < before.room <= ROOM / 2
    for _ in range(20):
        steps = rng.normal(size=(size, 3))
        steps *= rng.choice([0.0, 0.999], (size, 1)) * before.room / np.linalg.norm(steps, axis=1)[:, None]
        assert np.array_equal(bonds(atoms.positions + steps).edges, before.edges)
    i, j = before.edges.T if len(before.edges) else np.zeros((2, 0), int)
    assert sorted(zip(i, j, strict=True)) == sorted(zip(j, i, strict=True))


@pytest.mark.parametrize("name", ["C6H6", "CH3CH2OH", "C2H6SO"])
def test_molecules_have_room_to_vibrate(name):
    atoms = molecule(name)
    pairs = VerletList(reach(set(atoms.symbols)) + ROOM, 0.0).update(atoms.positions, atoms.cell.array, atoms.pbc)
    assert find_bonds(bonding(atoms.numbers), pairs).room > 0.13


def test_the_room_of_a_bond_is_what_lies_between_it_and_the_longest():
    """Two carbons at 1.5 A, bonded to 1.25 (0.76 + 0.76) = 1.9 A: each may move by half of the difference."""
    positions = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.5]])
    pairs = VerletList(3.0, 0.0).update(positions, np.zeros((3, 3)), np.zeros(3, bool))
    assert find_bonds(bonding(np.array([6, 6])), pairs).room == pytest.approx(0.2)


def test_elements_that_keep_no_bonds():
    salt = bulk("NaCl", "rocksalt", 5.64)
    assert names(salt, 1) == ["Na()", "Cl()"]
    assert reach(["Na", "Ar"]) == 0.0
    assert reach([]) == 0.0


def test_types_follow_the_model_and_are_kept_while_bonds_are():
    atoms = molecule("CH3CH2OH")
    type_map = sorted(set(names(atoms, 1)), reverse=True)
    finder = SpeciesFinder(type_map)
    first = finder.types(from_atoms(atoms))
    assert [type_map[t] for t in first] == names(atoms, 1)
    atoms.positions += np.random.default_rng(0).normal(0, 0.05, atoms.positions.shape)
    assert finder.types(from_atoms(atoms)) is first
    turned = atoms[::-1]
    assert [type_map[t] for t in finder.types(from_atoms(turned))] == names(turned, 1)


def test_atoms_of_one_element_in_other_order_are_found_anew():
    """The same numbers, other bonds: dimethyl ether after ethanol, its atoms in ethanol's order."""
    ethanol, ether = molecule("CH3CH2OH"), molecule("CH3OCH3")
    order = np.argsort(np.argsort(ethanol.numbers, kind="stable"), kind="stable")
    ether = ether[np.argsort(ether.numbers, kind="stable")][order]
    assert (ether.numbers == ethanol.numbers).all()
    finder = SpeciesFinder(sorted({*names(ethanol, 1), *names(ether, 1)}))
    for atoms in (ethanol, ether, ethanol):
        assert (finder.types(from_atoms(atoms)) == SpeciesFinder(finder._type_map).types(from_atoms(atoms))).all()
    with pytest.raises(StructureError, match=r"expected species of the model .*got C\(HHHO\), atom 0: the model tells"):
        SpeciesFinder(names(ethanol, 1)).types(from_atoms(ether))


def test_bonds_are_looked_for_again_when_atoms_have_moved_far_or_the_cell_has():
    """Step by step as in dynamics, the finder says at each what one says that sees the step alone."""
    atoms, rng = water(2), np.random.default_rng(5)
    finder, searches = SpeciesFinder(sorted(set(names(atoms, 2)))), []
    velocities = rng.normal(0, 0.02, atoms.positions.shape)
    for step in range(60):
        atoms.positions += velocities if step < 20 else rng.normal(0, 0.01, atoms.positions.shape)
        if step == 40:
            atoms.set_cell(atoms.cell * 1.01, scale_atoms=True)
        try:
            types = finder.types(from_atoms(atoms))
        except StructureError:
            types = None
        searches.append(finder._found_in)
        try:
            assert (types == SpeciesFinder(finder._type_map).types(from_atoms(atoms))).all()
        except StructureError:
            assert types is None
    assert 2 < len(set(map(id, searches))) < 50


def test_errors_are_repeated_and_forgotten():
    """What fails once fails again, and a structure of the model's after it is right."""
    ethanol = molecule("CH3CH2OH")
    finder = SpeciesFinder(sorted(set(names(ethanol, 1))))
    broken = ethanol.copy()
    broken.positions[0] += 3.0
    for _ in range(2):
        with pytest.raises(StructureError, match="tells atoms apart by their bonds"):
            finder.types(from_atoms(broken))
    assert (finder.types(from_atoms(ethanol)) == SpeciesFinder(finder._type_map).types(from_atoms(ethanol))).all()
    with pytest.raises(StructureError, match="expected elements of the model"):
        finder.types(from_atoms(molecule("CH3Cl")))
    assert finder.types(from_atoms(Atoms())).shape == (0,)


def test_elements_alone():
    assert SpeciesFinder(["O", "H"]).types(from_atoms(molecule("H2O"))).tolist() == [0, 1, 1]
