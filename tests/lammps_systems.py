"""Inputs for LAMMPS, and what it wrote."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.io import read, write

from ase_deeppot.resources import find

NKTV2P = 1.6021765e6  # bar A^3 / eV, as LAMMPS has it
ELEMENTS = np.array(["", "O", "H"])

# Prints a frame named ${frame}: cell and totals in one file, atoms in another.
PRINT_FRAME = """
run 0 post no
print "$(lx:%.17g) $(ly:%.17g) $(lz:%.17g) $(xy:%.17g) $(xz:%.17g) $(yz:%.17g) $(pe:%.17g) $(c_virial:%.17g) &
$(c_virial[1]:%.17g) $(c_virial[2]:%.17g) $(c_virial[3]:%.17g) $(c_virial[4]:%.17g) $(c_virial[5]:%.17g) &
$(c_virial[6]:%.17g)" file ${frame}.totals screen no
write_dump all custom ${frame}.atoms id type x y z fx fy fz c_energies c_stresses[*] modify sort id format float %.17g
"""
COMPUTES = """
compute energies all pe/atom
compute stresses all stress/atom NULL virial
compute virial all pressure NULL virial
compute sum all reduce sum c_energies c_stresses[*]
thermo_style custom step temp pe ke etotal press c_virial c_sum[*]
thermo_modify format float %.15g
"""


class Frame(NamedTuple):
    """What LAMMPS wrote of one structure."""

    atoms: Atoms
    energy: float  # eV
    virial: np.ndarray  # [6] eV, xx yy zz yz xz xy
    forces: np.ndarray  # [N, 3] eV/A
    energies: np.ndarray  # [N] eV
    virials: np.ndarray  # [N, 6] eV, xx yy zz yz xz xy


def write_water(folder: Path, **options) -> Atoms:
    """The bundled box of water as a data file for LAMMPS."""
    atoms = read(find("examples/data/water_box.extxyz"))
    atoms.wrap()
    write(folder / "water.data", atoms, format="lammps-data", specorder=["O", "H"], masses=True, units="metal",
          atom_style="atomic", **options)
    return atoms


def read_frame(folder: Path, name: str) -> Frame:
    """What `PRINT_FRAME` wrote."""
    lx, ly, lz, xy, xz, yz, energy, _, *pressure = np.loadtxt(folder / f"{name}.totals")
    rows = np.loadtxt(folder / f"{name}.atoms", skiprows=9)
    cell = [[lx, 0, 0], [xy, ly, 0], [xz, yz, lz]]
    atoms = Atoms(ELEMENTS[rows[:, 1].astype(int)], rows[:, 2:5], cell=cell, pbc=True)
    voigt = [0, 1, 2, 5, 4, 3]  # LAMMPS: xx yy zz xy xz yz
    return Frame(atoms, energy, np.array(pressure)[voigt] * atoms.get_volume() / NKTV2P, rows[:, 5:8], rows[:, 8],
                 rows[:, 9:15][:, voigt] / -NKTV2P)
