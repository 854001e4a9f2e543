"""Compute ``data/alcohols.db``: water, methanol, ethanol and dimers of the first two, with GFN2-xTB.

Each molecule is relaxed, then sampled by Langevin dynamics at three temperatures. Training and test frames
come from separate trajectories, so no test frame is a neighbour in time of a training frame. From the
repository root, ten minutes on one core:

    pip install ase tblite
    OMP_NUM_THREADS=1 python examples/make_alcohols.py
"""

import os
import sqlite3
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import ase.db
import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import Hookean
from ase.md.langevin import Langevin
from ase.optimize import BFGS
from tblite.ase import TBLite

OUTPUT = Path(__file__).parent / "data" / "alcohols.db"
METHOD = "GFN2-xTB"
ACCURACY = 0.1  # tblite's factor on its convergence thresholds
MONOMERS = {"water": "H2O", "methanol": "CH3OH", "ethanol": "CH3CH2OH"}
DIMERS = {
    "water-water": ("H2O", "H2O"),
    "water-methanol": ("H2O", "CH3OH"),
    "methanol-methanol": ("CH3OH", "CH3OH"),
}  # donor of the hydrogen bond, acceptor
TEMPERATURES = {1: (300, 500, 800), 2: (300, 400, 500)}  # K, by number of molecules
FRAMES = {"train": 18, "test": 4}  # a trajectory
TIMESTEP = 0.5  # fs
FRICTION = 0.02  # 1/fs
INTERVAL = 400  # steps between frames: 200 fs, four times the memory of the thermostat
EQUILIBRATION = 2000  # steps
TETHER = {"rt": 4.0, "k": 1.0}  # A, eV/A^2: holds a dimer's oxygens together, in the dynamics only
METADATA = {
    "title": "Water, methanol, ethanol and their dimers, GFN2-xTB",
    "method": f"{METHOD}, tblite, accuracy {ACCURACY}",
    "units": "eV, eV/A",
    "licence": "CC0-1.0",
}


def main() -> None:
    """Relax, sample and store every molecule; replace the database only when all is done."""
    unfinished = OUTPUT.with_name("unfinished.db")
    with ase.db.connect(unfinished, append=False, use_lock_file=False) as database:
        database.metadata = METADATA
        for index, name in enumerate([*MONOMERS, *DIMERS]):
            for frame, keys in compute(name, index):
                row = database.write(frame, molecule=name, **keys)
                print(f"\r{row} frames, {name:20}", end="", flush=True)
    finish(unfinished)


def compute(name: str, seed: int) -> Iterator[tuple[Atoms, dict[str, str | int]]]:
    """The relaxed molecule, then the snapshots of its trajectories, each with its keys in the database."""
    relaxed = relax(build(name))
    yield labelled(relaxed), {"split": "train", "temperature": 0}
    temperatures = TEMPERATURES[2 if name in DIMERS else 1]
    for run, (temperature, split) in enumerate(product(temperatures, FRAMES)):
        for frame in sample(relaxed, temperature, FRAMES[split], np.random.default_rng([seed, run])):
            yield frame, {"split": split, "temperature": temperature}


def build(name: str) -> Atoms:
    """Isolated molecule, or a dimer with a hydroxyl group of the donor pointing at the acceptor's oxygen."""
    if name in MONOMERS:
        return molecule(MONOMERS[name])
    donor, acceptor = (molecule(formula) for formula in DIMERS[name])
    from_donor, from_acceptor = oxygens(donor)[0], oxygens(acceptor)[0]
    hydrogens = np.flatnonzero(donor.numbers == 1)
    bonded = hydrogens[donor.get_distances(from_donor, hydrogens).argmin()]
    direction = donor.get_distance(from_donor, bonded, vector=True)
    target = donor.positions[from_donor] + 2.9 * direction / np.linalg.norm(direction)
    acceptor.translate(target - acceptor.positions[from_acceptor])
    dimer = donor + acceptor
    dimer.set_constraint(Hookean(*oxygens(dimer), **TETHER))
    return dimer


def oxygens(atoms: Atoms) -> list[int]:
    """Indices of the oxygen atoms."""
    return [int(index) for index in np.flatnonzero(atoms.numbers == 8)]


def relax(atoms: Atoms) -> Atoms:
    """Descend to the nearest minimum, from slightly disturbed positions to leave no symmetric saddle."""
    atoms.rattle(0.02, seed=0)
    atoms.calc = TBLite(method=METHOD, accuracy=ACCURACY, verbosity=0)
    BFGS(atoms, logfile=None).run(fmax=0.005, steps=1000)
    return atoms


def sample(relaxed: Atoms, temperature: float, frames: int, rng: np.random.Generator) -> Iterator[Atoms]:
    """Snapshots of one Langevin trajectory that starts at rest, each with its energy and forces."""
    atoms = relaxed.copy()
    atoms.calc = relaxed.calc
    # fixcm=True, the default, heats small molecules: to 750 K instead of 300 K for water
    dynamics = Langevin(
        atoms,
        TIMESTEP * units.fs,
        temperature_K=temperature,
        friction=FRICTION / units.fs,
        fixcm=False,
        rng=rng,
    )
    dynamics.run(EQUILIBRATION)
    for _ in range(frames):
        dynamics.run(INTERVAL)
        yield labelled(atoms)


def labelled(atoms: Atoms) -> Atoms:
    """A centred copy without velocities and tether, with GFN2-xTB energy and forces as results."""
    frame = Atoms(atoms.numbers, atoms.positions - atoms.get_center_of_mass())
    results = {"energy": atoms.calc.get_potential_energy(frame), "forces": atoms.calc.get_forces(frame)}
    frame.calc = SinglePointCalculator(frame, **results)
    frame.calc.name = METHOD
    return frame


def finish(unfinished: Path) -> None:
    """Give back unused pages and move the database to its place."""
    connection = sqlite3.connect(unfinished)
    connection.execute("VACUUM")
    connection.close()
    os.replace(unfinished, OUTPUT)
    print(f"\n{OUTPUT.name}: {OUTPUT.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
