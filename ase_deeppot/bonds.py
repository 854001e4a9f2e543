"""Which species of a model each atom is, where that depends on its bonds; a function of the structure alone.

Molecules keep their bonds while they vibrate, and with them the species of their atoms. One that reacts has other
species, most likely none of the model's; so a model that tells atoms apart by bonds is one of molecules that stay.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

import numpy as np
from ase.data import atomic_numbers, covalent_radii

from ase_deeppot.errors import StructureError
from ase_deeppot.neighbors import Pairs, VerletList
from ase_deeppot.species import bonds_in, elements_among, name_of
from ase_deeppot.structures import Structure, symbols_of, types_of

# Bonds by their length over the sum of the covalent radii. A wide gap lies between the longest of them in a hot
# molecule and the shortest distance of two atoms bonded to a third one, so that vibrations change nothing.
LONGEST, LONGEST_OF_HALOGENS = 1.25, 1.15  # halogens are large, and often several on one atom: less for two of them
FARTHEST = 1.6  # for an atom that has one bond: it is to the nearest atom
ORDINARY, HALOGEN, SINGLE, ALONE = range(4)
KINDS = {
    HALOGEN: ("Cl", "Br", "I"),
    SINGLE: ("H", "F"),
    ALONE: ("Li", "Na", "K", "Rb", "Cs", "Fr", "Be", "Mg", "Ca", "Sr", "Ba", "Ra", "He", "Ne", "Ar", "Kr", "Xe", "Rn"),
}
ROOM = 0.5  # A, by which atoms that are not bonded are looked at farther than they could be
SKIN = 1.0  # A, by which the search for bonded atoms looks farther, so that it serves for many steps


class Bonding(NamedTuple):
    """What atoms are like, for the question whether they are bonded."""

    radii: np.ndarray  # [N] A, covalent
    kinds: np.ndarray  # [N] int64, ORDINARY and so on


class Bonds(NamedTuple):
    """The bonds of a structure."""

    edges: np.ndarray  # [B, 2], each in both directions; an image of an atom is told as the atom itself
    room: float  # A, that any atom may move before there can be others


class SpeciesFinder:
    """Finds the species of the atoms of structures, of the next step of dynamics in less time than of another.

    Parameters
    ----------
    type_map : sequence of str
        Names of the species in the model's order, elements or others: ``ase_deeppot.species``.
    """

    def __init__(self, type_map: Sequence[str]) -> None:
        self._type_map, self._depth = tuple(type_map), bonds_in(type_map)
        self._list = VerletList(reach(elements_among(type_map)) + ROOM, SKIN)
        self._numbers = self._types = np.zeros(0, np.int64)
        self._atoms = bonding(self._numbers)
        self._bonds: Bonds | None = None
        self._found_in: Structure | None = None  # where these bonds were looked for

    def types(self, structure: Structure) -> np.ndarray:
        """Index of each atom's species, [N] int64.

        Raises
        ------
        StructureError
            If the model has no such species; the message names it.
        """
        if not np.array_equal(structure.numbers, self._numbers):
            self._types = types_of(structure.numbers, elements_among(self._type_map))  # refuses other elements
            self._numbers, self._atoms, self._bonds = structure.numbers, bonding(structure.numbers), None
        if self._depth and (self._bonds is None or not self._has_them(structure)):
            pairs = self._list.update(structure.positions, structure.cell, structure.pbc)
            bonds = find_bonds(self._atoms, pairs)
            if self._bonds is None or not np.array_equal(bonds.edges, self._bonds.edges):
                self._types = self._by(bonds)
            self._bonds, self._found_in = bonds, structure
        return self._types

    def _has_them(self, structure: Structure) -> bool:
        """Whether the structure has the bonds that were found last, as no atom has moved far."""
        then, bonds = cast(Structure, self._found_in), cast(Bonds, self._bonds)
        if not (np.array_equal(structure.cell, then.cell) and np.array_equal(structure.pbc, then.pbc)):
            return False
        moved = structure.positions - then.positions
        return bool(np.einsum("na,na->n", moved, moved).max(initial=0.0) < bonds.room**2)

    def _by(self, bonds: Bonds) -> np.ndarray:
        index = {name: t for t, name in enumerate(self._type_map)}
        names = names_of(self._numbers, bonds.edges, self._depth)
        strange = [atom for atom, name in enumerate(names) if name not in index]
        if strange:
            self._bonds = None
            raise StructureError(
                f"expected species of the model ({', '.join(self._type_map)}), got {names[strange[0]]}, atom "
                f"{strange[0]}: the model tells atoms apart by their bonds, and is one of molecules that keep them")
        return np.array([index[name] for name in names], np.int64)


def species_names(structure: Structure, bonds: int) -> list[str]:
    """Name of the species of each atom, with what is up to so many bonds away; 0: elements."""
    if not bonds:
        return symbols_of(structure.numbers)
    around = VerletList(reach(symbols_of(np.unique(structure.numbers))), 0.0)
    pairs = around.update(structure.positions, structure.cell, structure.pbc)
    return names_of(structure.numbers, find_bonds(bonding(structure.numbers), pairs).edges, bonds)


def names_of(numbers: np.ndarray, bonded: np.ndarray, bonds: int) -> list[str]:
    """Name of the species of each atom, from the bonds [B, 2] of all, each there in both directions."""
    symbols = symbols_of(numbers)
    others: list[list[int]] = [[] for _ in symbols]
    for i, j in bonded.tolist():
        others[i].append(j)
    names = symbols
    for _ in range(bonds):
        names = [name_of(symbol, (names[j] for j in to)) for symbol, to in zip(symbols, others, strict=True)]
    return names


def bonding(numbers: np.ndarray) -> Bonding:
    """What atoms of these elements are like."""
    kinds = np.full(len(numbers), ORDINARY)
    for kind, symbols in KINDS.items():
        kinds[np.isin(numbers, [atomic_numbers[symbol] for symbol in symbols])] = kind
    return Bonding(covalent_radii[numbers], kinds)


def find_bonds(atoms: Bonding, pairs: Pairs) -> Bonds:
    """The bonds among all pairs of atoms that may have one, and those up to ROOM beyond."""
    sums, of_kinds = atoms.radii[pairs.i] + atoms.radii[pairs.j], (atoms.kinds[pairs.i], atoms.kinds[pairs.j])
    ratio = np.sqrt(np.einsum("ea,ea->e", pairs.vectors, pairs.vectors)) / sums
    longest = _longest()[of_kinds]
    single, room = _single_bonds(atoms, pairs, ratio, sums, _farthest()[of_kinds] > 0.0)
    bonded = (ratio < longest) | single
    between = np.abs(ratio - longest)[longest > 0.0] * sums[longest > 0.0]
    return Bonds(np.stack([pairs.i[bonded], pairs.j[bonded]], axis=1), float(min(room, between.min(initial=ROOM) / 2)))


def _single_bonds(atoms: Bonding, pairs: Pairs, ratio: np.ndarray, sums: np.ndarray,
                  possible: np.ndarray) -> tuple[np.ndarray, float]:
    """Which pairs are bonded because one of them has its only bond there, and how far atoms may move till it has not.

    The distance of two atoms changes by twice as much as both move.
    """
    ends, nearest = atoms.kinds == SINGLE, np.full(len(atoms.radii), FARTHEST)
    np.minimum.at(nearest, pairs.i[possible], ratio[possible])
    first, back = (possible & (ratio < FARTHEST) & ends[end] & (ratio == nearest[end]) for end in (pairs.i, pairs.j))
    to_first = np.full(len(atoms.radii), np.inf)
    to_first[pairs.i[first]] = sums[first]
    others = possible & ends[pairs.i] & ~first
    overtaken = (ratio - nearest[pairs.i])[others] / (1.0 / sums + 1.0 / to_first[pairs.i])[others]
    lost = (FARTHEST - ratio[first]) * sums[first]
    return first | back, float(min(overtaken.min(initial=ROOM), lost.min(initial=ROOM)) / 2)


def _longest() -> np.ndarray:
    """Ratios below which atoms of two kinds are bonded whatever else is there."""
    table = np.zeros((4, 4))
    table[:2, :2] = LONGEST
    table[HALOGEN, HALOGEN] = LONGEST_OF_HALOGENS
    return table


def _farthest() -> np.ndarray:
    """Ratios below which they are if one is the nearest of all to an atom with a single bond."""
    table = np.zeros((4, 4))
    table[SINGLE, :ALONE] = table[:ALONE, SINGLE] = FARTHEST
    return table


def reach(symbols: Iterable[str]) -> float:
    """Largest distance of atoms of these elements that may be bonded, A."""
    atoms = bonding(np.array([atomic_numbers[symbol] for symbol in symbols], dtype=np.int64))
    sums = atoms.radii[:, None] + atoms.radii
    of_kinds = atoms.kinds[:, None], atoms.kinds
    return float((sums * np.maximum(_longest()[of_kinds], _farthest()[of_kinds])).max(initial=0.0))
