"""Checks of the bundled models beyond their errors: dynamics, crystals, vibrations, structure of the liquid.

    python benchmarks/sanity.py [NAME ...] [--data DATA] [--ps 50]

Results go to results/sanity.csv and into the cards of the models. DATA has a folder for each public data set
(mlearn_Li, mlearn_Mo, rmd17_ethanol): what DFT says of elastic constants is then fitted to its strained cells, and
scans of ethanol are compared; without it those rows are left out. References that are not in the data are of the
literature, quoted from memory.
"""

import argparse
import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import card_tables
import numpy as np
import physics
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import read
from ase.spacegroup import crystal

from ase_deeppot import DeepPotCalculator
from ase_deeppot.demo.rdf import first_peak, mean_rdf, read_rdf
from ase_deeppot.files import write_atomically
from ase_deeppot.resources import find
from ase_deeppot.structures import Structure, from_atoms

TABLE = Path(__file__).resolve().parent / "results" / "sanity.csv"
RECALLED = "literature, from memory"
PEAKS = {"OO": (2.4, 3.5), "OH": (1.4, 2.3), "HH": (1.9, 3.0)}  # A, between molecules
LATTICE = {"Li": 3.427, "Mo": 3.168}  # A, PBE
PUBLISHED = {"Li": physics.Cubic(15, 13, 11), "Mo": physics.Cubic(472, 158, 106)}  # GPa, PBE (Zuo et al. 2020)
# 1/cm, fundamentals of gaseous trans-ethanol
ETHANOL = (200, 251, 417, 812, 888, 1028, 1091, 1161, 1256, 1275, 1371, 1412, 1446, 1464, 1490, 2900, 2910, 2939, 2984,
           2991, 3653)
TITANIA = {  # space group, a, c in A as measured, place of O
    "rutile": (136, 4.594, 2.959, [(0, 0, 0), (0.3053, 0.3053, 0)]),
    "anatase": (141, 3.785, 9.514, [(0, 0, 0), (0, 0, 0.2081)]),
}


class Check(NamedTuple):
    """A quantity by the model and by somebody else; the latter may be missing."""

    model: str
    quantity: str
    unit: str
    value: float
    reference: float | None
    source: str


def metal(symbol: str, options: argparse.Namespace) -> list[Check]:
    """Lattice constant, elastic constants and dynamics of a bcc crystal."""
    calculator = DeepPotCalculator(symbol, dtype="float64")
    a = physics.lattice_constant(calculator, symbol, "bcc", LATTICE[symbol])
    checks = [Check(symbol, "lattice constant, bcc", "Å", a, LATTICE[symbol], f"PBE, {RECALLED}")]
    found = physics.elastic_constants(calculator, symbol, "bcc", a)
    labelled = strained(symbol, options.data)
    for name, value, published in zip(physics.Cubic._fields, found, PUBLISHED[symbol], strict=True):
        checks.append(Check(symbol, name.upper(), "GPa", value, published, f"PBE, {RECALLED}"))
        if labelled and (symbol, name) != ("Li", "c44"):  # the labels of sheared lithium have the wrong sign
            checks.append(Check(symbol, name.upper(), "GPa", value, getattr(labelled, name),
                                "PBE, fitted to the strained cells of the data"))
    atoms = bulk(symbol, "bcc", a=a, cubic=True).repeat(3)
    return checks + dynamics(symbol, atoms, 2.0, options)


def strained(symbol: str, data: Path | None) -> physics.Cubic | None:
    """Elastic constants of the labels."""
    if data is None:
        return None
    frames = [atoms for part in ("train", "test") for atoms in read(data / f"mlearn_{symbol}" / f"{part}.extxyz", ":")
              if atoms.info.get("config_type") == "Elastic"]
    size = max(map(len, frames))
    frames = [atoms for atoms in frames if len(atoms) == size]
    edges = np.concatenate([atoms.cell.lengths() for atoms in frames])
    return physics.fitted_elastic_constants(frames, float(np.median(edges)) * np.eye(3))


def water(options: argparse.Namespace) -> list[Check]:
    """Dynamics, and first peaks of g(r) beside those of the DFT frames."""
    frames: list[Structure] = []
    checks = dynamics("water", read(find("examples/data/water_box.extxyz")), 0.5, options,
                      lambda atoms: frames.append(from_atoms(atoms)))
    rdf, reference = mean_rdf(frames), read_rdf(find("examples/data/water_rdf.csv"))
    for pair, window in PEAKS.items():
        ours, dft = (first_peak(curves, pair, *window) for curves in (rdf, reference))
        for what, unit, value, other in (("place", "Å", ours[0], dft[0]), ("height", "", ours[1], dft[1])):
            checks.append(Check("water", f"first peak of g({'-'.join(pair)}), {what}", unit, value, other,
                                "DFT, from the training frames"))
    return checks


def ethanol(options: argparse.Namespace) -> list[Check]:
    """Frequencies, scans along two modes, dynamics."""
    calculator = DeepPotCalculator("ethanol", dtype="float64")
    found = physics.frequencies(calculator, molecule("CH3CH2OH"))
    checks = [Check("ethanol", f"harmonic frequency {n}", "1/cm", value, other,
                    f"experiment (anharmonic), {RECALLED}") for n, (value, other) in
              enumerate(zip(found, ETHANOL, strict=True), 1)]
    for mode in (874, 3005) if options.data else ():
        frames = read(options.data / "rmd17_ethanol" / f"test_norm_mode_{mode}.extxyz", ":")
        error = scan_error(calculator, frames)
        checks.append(Check("ethanol", f"energy along the mode of {mode} 1/cm, RMSE", "meV", 1e3 * error, None,
                            "PBE, the data's scan, up to 1 eV above its minimum"))
    return checks + dynamics("ethanol", molecule("CH3CH2OH"), 0.5, options)


def scan_error(calculator: DeepPotCalculator, frames: list[Atoms]) -> float:
    """RMSE of energies within 1 eV of the lowest, both counted from there, eV."""
    labels = np.array([atoms.get_potential_energy() for atoms in frames])
    values = np.array([calculator.get_potential_energy(Atoms(atoms.symbols, atoms.positions)) for atoms in frames])
    lowest, near = labels.argmin(), labels < labels.min() + 1.0
    return float(np.sqrt(np.mean(((values - values[lowest]) - (labels - labels[lowest]))[near] ** 2)))


def titania(options: argparse.Namespace) -> list[Check]:
    """Cells of rutile and anatase, dynamics of rutile."""
    calculator, checks, energies = DeepPotCalculator("TiO2", dtype="float64"), [], {}
    for name, (group, a, c, places) in TITANIA.items():
        cell = crystal(("Ti", "O"), places, spacegroup=group, cellpar=[a, a, c, 90, 90, 90])
        relaxed = physics.relaxed_cell(calculator, cell)
        energies[name] = relaxed.get_potential_energy() / len(relaxed)
        for edge, value, other in zip("ac", relaxed.cell.lengths()[[0, 2]], (a, c), strict=True):
            checks.append(Check("TiO2", f"{name}, {edge}", "Å", value, other, f"experiment, {RECALLED}"))
        if name == "rutile":
            rutile = relaxed
    checks.append(Check("TiO2", "anatase above rutile", "meV/atom", 1e3 * (energies["anatase"] - energies["rutile"]),
                        None, ""))
    return checks + dynamics("TiO2", rutile.repeat((2, 2, 3)), 1.0, options)


def dynamics(name: str, atoms: Atoms, timestep: float, options: argparse.Namespace,
             note: Callable[[Atoms], None] = lambda atoms: None) -> list[Check]:
    """Temperature, drift and closest pair in molecular dynamics, four fifths at 300 K and one at constant energy."""
    atoms.calc = DeepPotCalculator(name)
    time = 0.8 * options.ps, 0.2 * options.ps
    found = physics.dynamics(atoms, timestep, time, note=note)
    smallest = min(atoms.calc.card.domain.smallest_distance.values())
    how = f"{len(atoms)} atoms, {timestep:g} fs"
    return [
        Check(name, f"mean temperature, Langevin at 300 K, {time[0]:g} ps, {how}", "K", found.temperature, 300.0, ""),
        Check(name, f"drift of the energy, NVE, {time[1]:g} ps", "meV/atom/ps", 1e3 * found.drift, 0.0, ""),
        Check(name, "rms fluctuation of the energy, NVE", "meV/atom", 1e3 * found.spread, None, ""),
        Check(name, "closest pair in all of it", "Å", found.closest, smallest, "closest in the training data"),
    ]


CHECKS: dict[str, Callable[[argparse.Namespace], list[Check]]] = {
    "water": water, "Li": lambda options: metal("Li", options), "Mo": lambda options: metal("Mo", options),
    "ethanol": ethanol, "TiO2": titania}


def markdown(checks: list[Check]) -> str:
    """The checks of a model as a table."""
    lines = ["| checked | model | reference | of |", "|---|---|---|---|"]
    for check in checks:
        unit = f" {check.unit}" if check.unit else ""
        other = "" if check.reference is None else f"{number(check.reference)}{unit}"
        lines.append(f"| {check.quantity} | {number(check.value)}{unit} | {other} | {check.source} |")
    return "\n".join(lines) + "\n"


def number(value: float) -> str:
    """Four significant digits, one of what is hardly there."""
    return f"{value:.4g}" if abs(value) >= 0.01 else f"{value:.1g}"


def note(checks: list[Check]) -> None:
    """Put the checks of a model into the CSV, in place of earlier ones of the same model."""
    old = []
    if TABLE.exists():
        with TABLE.open(newline="") as file:
            old = [list(line.values()) for line in csv.DictReader(file) if line["model"] != checks[0].model]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(Check._fields)
    writer.writerows(old + [[f"{cell:.6g}" if isinstance(cell, float) else cell for cell in check] for check in checks])
    write_atomically(TABLE, buffer.getvalue().encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*CHECKS, []], help="default: all")
    parser.add_argument("--data", type=Path, help="folder of the public data sets")
    parser.add_argument("--ps", type=float, default=50.0, help="length of the dynamics")
    options = parser.parse_args()
    for name in options.names or CHECKS:
        checks = CHECKS[name](options)
        note(checks)
        card_tables.put(name, "checks", markdown(checks))
        print(f"== {name}\n{markdown(checks)}", flush=True)


if __name__ == "__main__":
    main()
