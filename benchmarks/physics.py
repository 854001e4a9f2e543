"""What a potential says of matter, by ASE: lattice and elastic constants, vibrations, dynamics."""

import tempfile
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.filters import FrechetCellFilter
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from ase.vibrations import Vibrations

STRAIN = 0.005
LARGEST_STRAIN = 0.021  # of labelled cells that elastic constants are fitted to


class Cubic(NamedTuple):
    """Elastic constants of a cubic crystal, GPa."""

    c11: float
    c12: float
    c44: float


class Dynamics(NamedTuple):
    """Molecular dynamics at constant temperature, then at constant energy."""

    temperature: float  # K, mean of the second half of the former
    drift: float  # eV/atom/ps, of a line through the total energy at constant energy
    spread: float  # eV/atom, root mean square deviation from the line
    closest: float  # A, smallest distance seen


def lattice_constant(calculator: Calculator, symbol: str, structure: str, guess: float) -> float:
    """Edge of the conventional cell of a cubic crystal without stress, A."""
    atoms = bulk(symbol, structure, a=guess)
    volume = atoms.get_volume()
    atoms.calc = calculator
    BFGS(FrechetCellFilter(atoms, hydrostatic_strain=True), logfile=None).run(fmax=1e-5, steps=200)
    return guess * (atoms.get_volume() / volume) ** (1 / 3)


def elastic_constants(calculator: Calculator, symbol: str, structure: str, a: float) -> Cubic:
    """``dstress/dstrain`` of a cubic crystal by central differences of strains of 0.5%."""
    def slope(strain: np.ndarray) -> np.ndarray:
        stresses = []
        for sign in (1, -1):
            atoms = bulk(symbol, structure, a=a, cubic=True)
            atoms.set_cell(atoms.cell[:] @ (np.eye(3) + sign * strain), scale_atoms=True)
            atoms.calc = calculator
            stresses.append(atoms.get_stress())
        return (stresses[0] - stresses[1]) / (2 * STRAIN) / units.GPa

    stretched = slope(STRAIN * np.diag([1.0, 0, 0]))
    sheared = slope(STRAIN / 2 * np.array([[0, 0, 0], [0, 0, 1.0], [0, 1.0, 0]]))
    return Cubic(float(stretched[0]), float(stretched[1:3].mean()), float(sheared[3]))


def fitted_elastic_constants(frames: Sequence[Atoms], reference: np.ndarray) -> Cubic:
    """Elastic constants from the stresses of strained cells, least squares; the cell itself may have a pressure.

    Parameters
    ----------
    frames : sequence of Atoms
        Strained cells of a cubic crystal, with stresses.
    reference : ndarray, [3, 3]
        The cell before it was strained, A.
    """
    rows, values = [], []
    for atoms in frames:
        gradient = np.linalg.inv(reference) @ atoms.cell[:]
        strain = (gradient + gradient.T) / 2 - np.eye(3)
        if np.abs(strain).max() > LARGEST_STRAIN:
            continue
        stress, normal = atoms.get_stress(), np.diag(strain)
        for k in range(3):
            rows.append([normal[k], normal.sum() - normal[k], 0.0, 1.0])
            values.append(stress[k])
        rows.append([0.0, 0.0, 2 * strain[0, 1], 0.0])  # yz and xz are exchanged in some of the files
        values.append(stress[5])
    found = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0] / units.GPa
    return Cubic(*map(float, found[:3]))


def relaxed_cell(calculator: Calculator, crystal: Atoms) -> Atoms:
    """The crystal with positions and cell relaxed, its symmetry as it is."""
    atoms = crystal.copy()
    atoms.calc = calculator
    BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=2e-3, steps=500)
    return atoms


def frequencies(calculator: Calculator, molecule: Atoms) -> np.ndarray:
    """Harmonic frequencies of the relaxed molecule, 1/cm, ascending, without translations and rotations.

    Imaginary ones are negative.
    """
    atoms = molecule.copy()
    atoms.calc = calculator
    BFGS(atoms, logfile=None).run(fmax=1e-3, steps=1000)
    with tempfile.TemporaryDirectory() as folder:
        vibrations = Vibrations(atoms, name=f"{folder}/vibrations", delta=0.005)
        vibrations.run()
        found = vibrations.get_frequencies()
    signed = np.sort(found.real - np.abs(found.imag))
    return np.delete(signed, np.argsort(np.abs(signed))[:6])


def dynamics(atoms: Atoms, timestep: float, picoseconds: tuple[float, float], temperature: float = 300.0,
             note: Callable[[Atoms], None] = lambda atoms: None, note_every: int = 50) -> Dynamics:
    """Langevin dynamics for so many ps, then velocity Verlet; ``note`` sees structures of the former's second half.

    Raises
    ------
    RuntimeError
        If it explodes: an atom at ten times the thermal energy's temperature on average.
    """
    rng = np.random.default_rng(1)
    MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=rng)
    Stationary(atoms)
    steps = [round(1e3 * time / timestep) for time in picoseconds]
    temperatures: list[float] = []
    energies: list[float] = []
    closest = [np.inf]

    def look() -> None:
        now = atoms.get_temperature()
        if not now < 10 * temperature:
            raise RuntimeError(f"the dynamics exploded: {now:.0f} K")
        temperatures.append(now)
        closest[0] = min(closest[0], _smallest_distance(atoms))

    thermal = Langevin(atoms, timestep * units.fs, temperature_K=temperature, friction=0.01 / units.fs, fixcm=False,
                       rng=rng)
    thermal.attach(look, interval=note_every)
    thermal.attach(lambda: note(atoms) if thermal.nsteps > steps[0] / 2 else None, interval=note_every)
    thermal.run(steps[0])
    free = VelocityVerlet(atoms, timestep * units.fs)
    free.attach(lambda: energies.append(atoms.get_total_energy() / len(atoms)), interval=10)
    free.attach(look, interval=note_every)
    half = temperatures[len(temperatures) // 2 :]
    free.run(steps[1])
    times = 1e-3 * timestep * 10 * np.arange(len(energies))
    line = np.polynomial.Polynomial.fit(times, energies, 1)
    return Dynamics(float(np.mean(half)), float(line.deriv()(0.0)), float(np.std(energies - line(times))), closest[0])


def _smallest_distance(atoms: Atoms) -> float:
    distances = atoms.get_all_distances(mic=bool(atoms.pbc.any()))
    return float(distances[np.triu_indices(len(atoms), 1)].min())
