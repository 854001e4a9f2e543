"""Make the starting box of the demonstration, ``data/water_box.extxyz``: 64 water molecules at 300 K.

Molecules on a cubic lattice, turned at random but with no two atoms close, relaxed a little, then molecular dynamics
with the bundled model: hot to forget the lattice, and at 300 K. Seeded; another build of the linear algebra library
gives another box of the same kind. Takes some minutes.

    python examples/make_water_box.py
"""

from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.io import write
from ase.md.langevin import Langevin
from ase.optimize import FIRE
from scipy.spatial.transform import Rotation

from ase_deeppot import DeepPotCalculator
from ase_deeppot.neighbors import neighbor_pairs

OUTPUT = Path(__file__).parent / "data" / "water_box.extxyz"
LENGTH = 12.44466  # A, of the DFT frames
PER_SIDE = 4
CLOSEST = 1.75  # A, between atoms of different molecules
TIMESTEP = 0.5  # fs
STAGES = ((400, 2000, 0.05), (300, 6000, 0.02))  # K, steps, friction in 1/fs


def main() -> None:
    """Lattice, relaxation, dynamics, file."""
    rng = np.random.default_rng(1)
    atoms = lattice(rng)
    atoms.calc = DeepPotCalculator("water")
    FIRE(atoms).run(fmax=1.0, steps=200)
    for temperature, steps, friction in STAGES:
        dynamics = Langevin(atoms, TIMESTEP * units.fs, temperature_K=temperature, friction=friction / units.fs,
                            fixcm=False, rng=rng)
        dynamics.attach(reporter(atoms, dynamics), interval=500)
        dynamics.run(steps)
    save(atoms)


def lattice(rng: np.random.Generator) -> Atoms:
    """Oxygens on a simple cubic lattice; each molecule is turned until it is close to none before it."""
    spacing = LENGTH / PER_SIDE
    atoms = Atoms(cell=[LENGTH] * 3, pbc=True)
    for site in product(range(PER_SIDE), repeat=3):
        while True:
            trial = atoms + turned(rng, spacing * (np.array(site) + 0.5))
            if not clashes(trial):
                atoms = trial
                break
    return atoms


def turned(rng: np.random.Generator, oxygen: np.ndarray) -> Atoms:
    """A water molecule in a random orientation with its oxygen at the given place; O, H, H."""
    water = molecule("H2O")
    water.positions -= water.positions[0]
    water.positions = Rotation.random(random_state=rng).apply(water.positions) + oxygen
    return water


def clashes(atoms: Atoms) -> bool:
    """Whether atoms of different molecules, images included, are close."""
    pairs = neighbor_pairs(atoms.positions, atoms.cell[:], atoms.pbc, CLOSEST)
    return bool((pairs.i // 3 != pairs.j // 3).any())


def reporter(atoms: Atoms, dynamics: Langevin) -> Callable[[], None]:
    """Function that prints where the dynamics is."""

    def report() -> None:
        print(f"step {dynamics.nsteps:6d}  {atoms.get_temperature():4.0f} K  {atoms.get_potential_energy():.2f} eV",
              flush=True)

    return report


def save(atoms: Atoms) -> None:
    """Write positions and momenta, at rest as a whole, every molecule in one piece with its oxygen in the cell."""
    box = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    box.set_velocities(atoms.get_velocities() - atoms.get_momenta().sum(0) / atoms.get_masses().sum())
    cells = np.floor(box.get_scaled_positions(wrap=False)[::3])
    box.positions -= np.repeat(cells, 3, axis=0) @ box.cell[:]
    write(OUTPUT, box, columns=["symbols", "positions", "momenta"])
    print(f"{OUTPUT.name}: {OUTPUT.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
