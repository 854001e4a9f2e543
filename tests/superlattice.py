"""A crystal in which local frames see nothing jump: its neighbours stay in the order in which they are.

Layers of Cd, Te, Hg and Se, stacked as in zinc blende. Each atom has two bonds to the layer above and two to the one
below, 2.4 and 2.9 A long, to two elements, and no other neighbour within 3.9 A. Keating's energy (Phys. Rev. 145, 637,
1966) keeps them so:

E = sum_bonds 3 alpha / (16 d^2) (r^2 - d^2)^2 + sum_angles 3 beta / (8 d d') (r . r' - c)^2
"""

from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.neighborlist import neighbor_list

SHORT, LONG, RISE = 2.4, 2.9, 1.5  # A: the two bonds, and the distance of layers
ALPHA, BETA = 8.0, 2.4  # eV/A^2, as stiff as diamond

#: By element of the centre the nearest atom above and below, whatever their distance.
AXIS_RULE = {"Cd": [["Te", 0], ["Se", 0]], "Te": [["Cd", 0], ["Hg", 0]],
             "Hg": [["Te", 0], ["Se", 0]], "Se": [["Hg", 0], ["Cd", 0]]}


def superlattice():
    """Its cell of four atoms, at rest."""
    near, far = (np.sqrt(length**2 - RISE**2) for length in (SHORT, LONG))
    x, y = np.array([near, 0.0, RISE]), np.array([0.0, near, RISE])
    width = near + far
    above = 2 * (x + y) - [width, width, 0]
    return Atoms("CdTeHgSe", [0 * x, x, x + y, 2 * x + y], cell=[[width, 0, 0], [0, width, 0], above], pbc=True)


def slab():
    """Two cells of layers between vacuum, cut through the bonds of Se and Cd."""
    atoms = superlattice() * (1, 1, 2)
    atoms.pbc = (True, True, False)
    atoms.center(vacuum=6.0, axis=2)
    return atoms


def tetrahedron():
    """A molecule: Cd and the two Te and two Se that it is bonded to."""
    block = superlattice() * (2, 2, 2)
    bonded = neighbor_list("ijD", block, 3.3)
    centre = bonded[0] == 0
    positions = np.vstack([np.zeros(3), bonded[2][centre]])
    return Atoms(np.append(block.numbers[0], block.numbers[bonded[1][centre]]), positions)


class Bonds(NamedTuple):
    """Each from both of its ends, and each pair of two at an atom."""

    i: np.ndarray  # [P]
    j: np.ndarray  # [P]
    images: np.ndarray  # [P, 3] cells
    rest: np.ndarray  # [P, 3] vectors at rest
    angles: np.ndarray  # [A, 2] pairs of bonds


def bonds_of(atoms):
    """Those of a structure at rest."""
    i, j, images, rest = neighbor_list("ijSD", atoms, 3.3)
    angles = [(a, b) for a in range(len(i)) for b in range(a + 1, len(i)) if i[a] == i[b]]
    return Bonds(i, j, images, rest, np.array(angles))


def with_labels(atoms, bonds):
    """The distorted structure with Keating's energy, forces and, in a crystal, stress."""
    vectors = atoms.positions[bonds.j] - atoms.positions[bonds.i] + bonds.images @ atoms.cell[:]
    squares, lengths = (bonds.rest**2).sum(1), np.linalg.norm(bonds.rest, axis=1)
    stretch = (vectors**2).sum(1) - squares
    a, b = bonds.angles.T
    bend = (vectors[a] * vectors[b]).sum(1) - (bonds.rest[a] * bonds.rest[b]).sum(1)
    bending = 3 * BETA / (8 * lengths[a] * lengths[b])
    energy = (3 * ALPHA / 32 * stretch**2 / squares).sum() + (bending * bend**2).sum()  # bonds count twice
    slopes = (3 * ALPHA / 8 * stretch / squares)[:, None] * vectors
    np.add.at(slopes, a, (2 * bending * bend)[:, None] * vectors[b])
    np.add.at(slopes, b, (2 * bending * bend)[:, None] * vectors[a])
    forces = np.zeros_like(atoms.positions)
    np.add.at(forces, bonds.i, slopes)
    np.subtract.at(forces, bonds.j, slopes)
    labels = {"energy": energy, "forces": forces}
    if atoms.pbc.all():
        stress = slopes.T @ vectors / atoms.get_volume()
        labels["stress"] = stress.ravel()[[0, 4, 8, 5, 2, 1]]
    atoms.calc = SinglePointCalculator(atoms, **labels)
    return atoms


def distorted(count, seed):
    """Crystals, slabs and molecules, strained and rattled by less than what changes the order of neighbours."""
    rng = np.random.default_rng(seed)
    kinds = [(atoms, bonds_of(atoms)) for atoms in (superlattice(), superlattice() * (2, 1, 1), slab(), tetrahedron())]
    frames = []
    for k in range(count):
        rest, bonds = kinds[k % len(kinds)]
        frame = rest.copy()
        if frame.pbc.any():
            frame.set_cell(frame.cell[:] @ (np.eye(3) + rng.uniform(-0.03, 0.03, (3, 3))), scale_atoms=True)
        frame.rattle((0.02, 0.04, 0.06)[k // len(kinds) % 3], rng=rng)
        frames.append(with_labels(frame, bonds))
    return frames
