"""The bundled water model at work: a relaxation, dynamics at 300 K, dynamics at constant energy."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms, units
from ase.constraints import FixAtoms
from ase.io.trajectory import Trajectory
from ase.md.langevin import Langevin
from ase.md.md import MolecularDynamics
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS

from ase_deeppot.fitting.progress import progress_bar
from ase_deeppot.structures import Structure, from_atoms

Say = Callable[[str], None]

TIMESTEP = 0.5  # fs
PICOSECONDS = 1e-3 * TIMESTEP  # a step
TEMPERATURE = 300  # K
FRICTION = 0.02  # 1/fs
STRETCH = 0.15  # A
FRAME_EVERY = 10  # steps between frames of g(r)
SAVE_EVERY = 20  # steps between frames of the trajectories


class Record(NamedTuple):
    """What was noted at each step of dynamics, the start included."""

    time: np.ndarray  # [S] ps
    energy: np.ndarray  # [S] eV per atom, potential and kinetic
    temperature: np.ndarray  # [S] K
    frames: list[Structure]  # every FRAME_EVERY steps, the start left out
    seconds: float  # it took


class Drift(NamedTuple):
    """How well an energy is conserved."""

    slope: float  # eV/atom/ps, of a line through the energies
    spread: float  # eV/atom, root mean square deviation from that line


def relax_molecule(atoms: Atoms, trajectory: Path, say: Say) -> None:
    """Stretch an O-H bond of the first molecule, then relax this molecule among the others, which are held."""
    before = _geometry(atoms)
    stretched = atoms.copy()
    stretched.calc = atoms.calc
    stretched.set_distance(0, 1, before[0] + STRETCH, fix=0, mic=True)
    stretched.set_constraint(FixAtoms(range(3, len(atoms))))
    start, start_energy = _geometry(stretched), stretched.get_potential_energy()
    optimizer = BFGS(stretched, logfile=None, trajectory=str(trajectory), maxstep=0.05)  # not to overshoot
    converged = optimizer.run(fmax=0.02, steps=200)
    gain = start_energy - stretched.get_potential_energy()
    say("                      O-H 1, A   O-H 2, A   H-O-H, degrees")
    for name, values in (("in the box at 300 K", before), ("stretched", start), ("relaxed", _geometry(stretched))):
        say(f"{name:<20} {values[0]:9.3f}  {values[1]:9.3f}  {values[2]:15.1f}")
    say(f"{optimizer.nsteps} steps, energy {gain:.3f} eV lower, "
        + ("largest force below 0.02 eV/A" if converged else "not yet converged"))


def langevin(atoms: Atoms, steps: int, trajectory: Path, say: Say) -> Record:
    """Dynamics at constant temperature."""
    # fixcm=True, ASE's default, does not sample the canonical ensemble
    dynamics = Langevin(atoms, TIMESTEP * units.fs, temperature_K=TEMPERATURE, friction=FRICTION / units.fs,
                        fixcm=False, rng=np.random.default_rng(1))
    return _run(dynamics, atoms, steps, trajectory, say)


def nve(atoms: Atoms, steps: int, trajectory: Path, say: Say) -> Record:
    """Dynamics at constant energy, which shows whether forces are the derivatives of the energy."""
    return _run(VelocityVerlet(atoms, TIMESTEP * units.fs), atoms, steps, trajectory, say)


def drift(record: Record) -> Drift:
    """Straight line through the total energy."""
    line = np.polynomial.Polynomial.fit(record.time, record.energy, 1)
    return Drift(float(line.deriv()(0.0)), float(np.std(record.energy - line(record.time))))


def speed(record: Record, n_atoms: int) -> str:
    """Time a step and what it means."""
    step = record.seconds / (len(record.time) - 1)
    return (f"{1e3 * step:.1f} ms a step, {1e6 * step / n_atoms:.0f} us an atom and step, "
            f"{TIMESTEP * 1e-6 * 86400 / step:.2f} ns a day")


def _run(dynamics: MolecularDynamics, atoms: Atoms, steps: int, trajectory: Path, say: Say) -> Record:
    """Run, noting energy and temperature at each step, with a progress bar and ten lines on the way."""
    notes: list[tuple[float, float]] = []
    frames: list[Structure] = []

    def note() -> None:
        notes.append((atoms.get_total_energy() / len(atoms), atoms.get_temperature()))
        if dynamics.nsteps and dynamics.nsteps % FRAME_EVERY == 0:
            frames.append(from_atoms(atoms))
        if dynamics.nsteps % -(-steps // 10) == 0:
            say(f"{dynamics.nsteps * PICOSECONDS:8.3f} ps  {notes[-1][1]:5.0f} K  "
                f"{atoms.get_potential_energy() / len(atoms):12.4f} eV/atom")

    with Trajectory(trajectory, "w", atoms, properties=["energy", "forces"]) as file, \
            progress_bar(steps, 0, quiet=False) as progress:
        dynamics.attach(note)
        dynamics.attach(lambda: progress(dynamics.nsteps))
        dynamics.attach(file, interval=SAVE_EVERY)
        began = time.perf_counter()
        dynamics.run(steps)
        seconds = time.perf_counter() - began
    energy, temperature = np.array(notes).T
    return Record(np.arange(len(notes)) * PICOSECONDS, energy, temperature, frames, seconds)


def _geometry(atoms: Atoms) -> tuple[float, float, float]:
    """Bond lengths (A) and angle (degrees) of the first molecule: O, H, H."""
    return (float(atoms.get_distance(0, 1, mic=True)), float(atoms.get_distance(0, 2, mic=True)),
            float(atoms.get_angle(1, 0, 2, mic=True)))
