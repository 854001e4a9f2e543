"""What the DPMD paper (PRL 120, 143001) showed, for DPMD and DeepPot-SE: molecules, water, linear cost.

    python benchmarks/dpmd_paper.py molecules --data DATA    errors on MD17 subsets beside published ones
    python benchmarks/dpmd_paper.py water --data DATA        errors, g(r) of dynamics beside DFT, NVE drift
    python benchmarks/dpmd_paper.py scaling --data DATA      time of an evaluation from 192 to 98,304 atoms
    python benchmarks/dpmd_paper.py draw                     pictures of the tables in the output folder

DATA holds md17_NAME/train.extxyz, test.extxyz and water_dpkit/ alike. Tables are CSV files in the output folder;
trained models and trajectories are kept there and used again, and training that was stopped goes on. The default number
of steps takes hours.
"""

import argparse
import csv
import warnings
from collections.abc import Iterable
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from ase.io import read
from ase.md.velocitydistribution import Stationary, thermalize_momenta

from ase_deeppot import DeepPotCalculator, load_model
from ase_deeppot.demo.rdf import ELEMENTS, Rdf, mean_rdf
from ase_deeppot.demo.water import PICOSECONDS, TEMPERATURE, Record, drift, langevin, nve
from ase_deeppot.fitting import fit
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.metrics import accuracy, parities, predict
from ase_deeppot.fitting.plots import figure, save
from ase_deeppot.fitting.sources import read_frames
from ase_deeppot.neighbors import neighbor_pairs
from ase_deeppot.potential.archive import Model
from ase_deeppot.potential.engine import engine
from ase_deeppot.resources import find
from ase_deeppot.structures import from_atoms, types_of

MOLECULES = ("aspirin", "ethanol", "naphthalene")
DESCRIPTORS: dict[str, dict[str, Any]] = {"DPMD": {"kind": "local_frame"}, "DeepPot-SE": {"kind": "smooth", "l_max": 1}}
MUON: dict[str, dict[str, Any]] = {"DPMD": {"matrices": 5e-3}, "DeepPot-SE": {}}  # docs/performance.md
ADAM = {"optimizer": "adam", "decay": "exponential"}
WATER_SLOTS = {"sel_a": {"O": 16, "H": 32}, "sel_r": {"O": 30, "H": 60}}  # of the paper
NVE_EVERY = 40  # steps between rows of the table of energies
REPEATS = (1, 2, 4, 8)  # N^3 boxes of 192 atoms
# Training frames, how sure the figures are, and mean absolute errors: energy meV, force meV/A. Those recalled from a
# publication have to be checked there before they are quoted; the others were read in its files.
PUBLISHED = {
    "DPMD 2018": ("most", "recalled", {"aspirin": (8.7, 19.1), "ethanol": (2.4, 8.3), "naphthalene": (4.1, 7.1)}),
    "GDML 2017": ("1000", "recalled", {"aspirin": (11.7, 42.9), "ethanol": (6.5, 34.3), "naphthalene": (5.2, 10.0)}),
    "sGDML 2018": ("1000", "read", {"aspirin": (8.4, 29.4), "ethanol": (3.1, 14.5), "naphthalene": (5.0, 4.9)}),
    "DeepPot-SE 2018": ("most", "recalled", {"aspirin": (6.7, 12.1), "ethanol": (2.2, 3.1), "naphthalene": (5.2, 5.5)}),
}


class Trained(NamedTuple):
    """A model with its errors on the test frames."""

    model: Path
    energy_mae: float  # meV
    energy_rmse: float  # meV an atom
    force_mae: float  # meV/A
    force_rmse: float  # meV/A


def train(system: str, method: str, model: dict[str, Any], batch_size: int, options: argparse.Namespace) -> Trained:
    """Train on a set unless that was done before, and evaluate on its test frames."""
    data, folder = Path(options.data) / system, folder_of(system, method, options)
    if not (folder / "model.pth").exists():
        fit(str(data / "train.extxyz"), output=str(folder), restart=(folder / "checkpoint.pt").exists(),
            model={"precision": "float32", **model},
            learning_rate=MUON[method] if options.optimizer == "muon" else ADAM,
            training={"steps": options.steps, "batch_size": batch_size, "validate_every": min(1000, options.steps),
                      "checkpoint_every": min(1000, options.steps)})
    loaded = load_model(folder / "model.pth")
    frames, _ = read_frames([str(data / "test.extxyz")])
    dataset = Dataset(frames, loaded.card.type_map, loaded.card.rcut, memory=0.0)
    energy, force, _ = map(accuracy, columns := parities(frames, predict([loaded], dataset)))
    whole = np.abs(columns[0].prediction - columns[0].label) * np.diff(frames.offsets)
    errors = (whole.mean(), energy.rmse, force.mae, force.rmse)
    return Trained(folder / "model.pth", *(1e3 * float(error) for error in errors))


def folder_of(system: str, method: str, options: argparse.Namespace) -> Path:
    """Where the model of a set is kept, and its dynamics."""
    return Path(options.output) / "models" / f"{system}-{method}-{options.optimizer}-{options.steps}"


def molecules(options: argparse.Namespace) -> None:
    """Mean absolute errors beside published ones, with the number of training frames."""
    rows: list[dict[str, Any]] = []
    for molecule in options.only or MOLECULES:
        frames = read_frames([str(Path(options.data) / f"md17_{molecule}" / "train.extxyz")])[0].count
        for method, (count, source, errors) in PUBLISHED.items():
            energy, force = errors[molecule]
            rows.append({"molecule": molecule, "model": f"{method}, published", "figures": source,
                         "training frames": count, "energy MAE meV": energy, "force MAE meV/A": force})
        for method, descriptor in DESCRIPTORS.items():
            model = {"rcut": options.rcut, "descriptor": descriptor}
            result = train(f"md17_{molecule}", method, model, options.batch_size or 4, options)
            rows.append({"molecule": molecule, "model": f"{method}, here, {options.steps} steps", "figures": "measured",
                         "training frames": frames, "energy MAE meV": f"{result.energy_mae:.1f}",
                         "force MAE meV/A": f"{result.force_mae:.1f}"})
    write(Path(options.output) / "molecules.csv", rows)


def train_water(method: str, options: argparse.Namespace) -> Trained:
    """A model of liquid water, for DPMD with the slots of the paper."""
    slots = WATER_SLOTS if method == "DPMD" else {}
    model = {"rcut": 6.0, "type_map": ["O", "H"], "descriptor": DESCRIPTORS[method] | slots}
    return train("water_dpkit", method, model, options.batch_size or 1, options)


def water(options: argparse.Namespace) -> None:
    """Errors, g(r) at 300 K and the energy along dynamics that should conserve it, of both models."""
    folder = Path(options.output)
    dft = read_frames([str(Path(options.data) / "water_dpkit" / "train.extxyz")])[0]
    curves = {"DFT frames": mean_rdf(dft.frame(k).structure for k in range(dft.count))}
    rows, energies = [], {}
    for method in DESCRIPTORS:
        result = train_water(method, options)
        curves[method], energies[method] = dynamics(result.model, options.picoseconds)
        rows.append({"model": method, "steps": options.steps, "training frames": dft.count,
                     "energy RMSE meV/H2O": f"{3 * result.energy_rmse:.2f}",
                     "force RMSE meV/A": f"{result.force_rmse:.1f}", **conserved(energies[method])})
    write(folder / "water.csv", rows)
    write(folder / "water_rdf.csv", [
        {"r": f"{r:.3f}", **{f"{name} {pair}": f"{curve.g[pair][n]:.4f}" for name, curve in curves.items()
                             for pair in ELEMENTS}} for n, r in enumerate(curves["DFT frames"].r)])
    write(folder / "water_nve.csv", [
        {"ps": f"{time:.3f}", **{f"{name} {what}": f"{value[n]:.4f}" for name, record in energies.items()
                                 for what, value in (("meV/atom", 1e3 * (record.energy - record.energy[0])),
                                                     ("K", record.temperature))}}
        for n, time in enumerate(energies["DPMD"].time) if n % NVE_EVERY == 0])


def conserved(record: Record) -> dict[str, str]:
    """Drift over all of the dynamics and over its first tenth, spread, temperature of the last tenth."""
    tenth = len(record.time) // 10
    whole, start = drift(record), drift(record._replace(time=record.time[:tenth], energy=record.energy[:tenth]))
    return {"NVE ps": f"{record.time[-1]:g}", "NVE drift meV/atom/ps": f"{1e3 * whole.slope:.4f}",
            "its first tenth": f"{1e3 * start.slope:.4f}", "spread meV/atom": f"{1e3 * whole.spread:.4f}",
            "K at the end": f"{record.temperature[-tenth:].mean():.0f}"}


def dynamics(model: Path, picoseconds: float) -> tuple[Rdf, Record]:
    """g(r) from dynamics at constant temperature; then what dynamics at constant energy noted."""
    atoms, steps = read(find("examples/data/water_box.extxyz")), max(100, round(picoseconds / PICOSECONDS))
    kept = model.parent / f"dynamics-{picoseconds:g}.npz"
    if not kept.exists():
        atoms.calc = DeepPotCalculator(model)
        thermalize_momenta(atoms, temperature_K=TEMPERATURE, rng=np.random.default_rng(0))
        Stationary(atoms)
        warm = langevin(atoms, steps, model.parent / "nvt.traj", print)
        free = nve(atoms, steps, model.parent / "nve.traj", print)
        rdf = mean_rdf(warm.frames[len(warm.frames) // 4 :])
        unfinished = kept.with_name("unfinished.npz")
        np.savez(unfinished, r=rdf.r, **rdf.g, time=free.time, energy=free.energy, temperature=free.temperature)
        unfinished.rename(kept)
    with np.load(kept) as values:
        return (Rdf(values["r"], {pair: values[pair] for pair in ELEMENTS}),
                Record(values["time"], values["energy"], values["temperature"], [], 0.0))


def scaling(options: argparse.Namespace) -> None:
    """Seconds of an evaluation (neighbour search apart) against the number of atoms, with trained models of water."""
    rows = []
    for name, file in waters(options).items():
        model = load_model(file, dtype=options.precision)
        for atoms, seconds in evaluations(model, options.sizes):
            rows.append({"model": name, "atoms": atoms, "seconds": f"{seconds:.5f}",
                         "us an atom": f"{1e6 * seconds / atoms:.1f}"})
    write(Path(options.output) / "scaling.csv", rows)


def waters(options: argparse.Namespace) -> dict[str, Path]:
    """The models of ``water``, trained unless that was done before, and the bundled one."""
    files = {method: train_water(method, options).model for method in DESCRIPTORS}
    return files | {"DeepPot-SE, angular order 3": find("models/water.pth")}


def evaluations(model: Model, sizes: int) -> Iterable[tuple[int, float]]:
    """Number of atoms, and median of seconds of an evaluation, for boxes of liquid water."""
    ready = engine(model, compiled=True)
    for repeat in REPEATS[:sizes]:
        structure = from_atoms(read(find("examples/data/water_box.extxyz")) * (repeat, repeat, repeat))
        types = types_of(structure.numbers, model.card.type_map)
        pairs = neighbor_pairs(structure.positions, structure.cell, structure.pbc, model.card.rcut)
        ready.evaluate(types, pairs)
        times = []
        for _ in range(max(2, 15 // repeat)):
            began = perf_counter()
            ready.evaluate(types, pairs)
            times.append(perf_counter() - began)
        yield len(types), float(np.median(times))


def draw(options: argparse.Namespace) -> None:
    """Pictures of the tables that are there."""
    folder = Path(options.output)
    for name, picture in (("scaling", draw_scaling), ("water_rdf", draw_rdf), ("water_nve", draw_nve)):
        if (folder / f"{name}.csv").exists():
            picture(list(csv.DictReader((folder / f"{name}.csv").open())), folder / f"{name}.png")
            print(f"wrote {folder / name}.png")


def draw_scaling(rows: list[dict[str, str]], file: Path) -> None:
    """Seconds against atoms, both logarithmic, beside lines of slope one through the last points."""
    drawing = figure(5.5, 4.0)
    axes = drawing.subplots()
    for n, method in enumerate(dict.fromkeys(row["model"] for row in rows)):
        mine = [row for row in rows if row["model"] == method]
        atoms, seconds = np.array([(int(row["atoms"]), float(row["seconds"])) for row in mine]).T
        axes.loglog(atoms, seconds, "o", color=f"C{n}", label=method)
        axes.loglog(atoms, seconds[-1] * atoms / atoms[-1], color=f"C{n}", lw=0.8, ls="--")
    axes.plot([], [], color="0.4", lw=0.8, ls="--", label="proportional")
    axes.set(xlabel="atoms", ylabel="seconds an evaluation")
    axes.legend(frameon=False)
    save(drawing, file)


def draw_rdf(rows: list[dict[str, str]], file: Path) -> None:
    """g(r) of both models over those of the DFT frames."""
    drawing = figure(10.5, 3.6)
    r = [float(row["r"]) for row in rows]
    panels = drawing.subplots(1, 3, sharey=True)
    for axes, pair in zip(panels, ELEMENTS, strict=True):
        axes.fill_between(r, [float(row[f"DFT frames {pair}"]) for row in rows], color="0.85", label="DFT frames")
        for method in DESCRIPTORS:
            axes.plot(r, [float(row[f"{method} {pair}"]) for row in rows], lw=1.2, label=method)
        axes.set(xlim=(0.6, 6.2), ylim=(0.0, 3.6), xlabel="distance, Å", title="-".join(pair))
    panels[0].set_ylabel("g(r)")
    axes.legend(frameon=False)
    save(drawing, file)


def draw_nve(rows: list[dict[str, str]], file: Path) -> None:
    """Total energy in the first picosecond and temperature in all of them, at constant energy."""
    drawing = figure(9.0, 3.6)
    left, right = drawing.subplots(1, 2)
    time = np.array([float(row["ps"]) for row in rows])
    for method in DESCRIPTORS:
        energy, temperature = (np.array([float(row[f"{method} {what}"]) for row in rows]) for what in ("meV/atom", "K"))
        left.plot(time[time <= 1.0], energy[time <= 1.0], lw=1.2, label=method)
        right.semilogy(time, temperature, lw=1.2, label=method)
    left.set(xlabel="time, ps", ylabel="change of the total energy, meV/atom")
    right.set(xlabel="time, ps", ylabel="temperature, K")
    right.legend(frameon=False)
    save(drawing, file)


def write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """A table as CSV, and as text."""
    rows = list(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    if len(rows) < 40:
        lines = [list(rows[0]), *(row.values() for row in rows)]
        print("\n".join("  ".join(f"{value!s:<24}" for value in line) for line in lines))
    print(f"wrote {path}")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("molecules", "water", "scaling", "draw"))
    parser.add_argument("--data", default="data", help="folder of the sets")
    parser.add_argument("--output", default="dpmd-paper", help="folder for models, tables and pictures")
    parser.add_argument("--steps", type=int, default=100_000, help="of training, for each model")
    parser.add_argument("--batch-size", type=int, default=0, help="frames a step; 0: 4 of molecules, 1 of water")
    parser.add_argument("--optimizer", default="muon", choices=("muon", "adam"), help="adam: as in the papers")
    parser.add_argument("--rcut", type=float, default=8.0, help="for molecules, A: all atoms see each other")
    parser.add_argument("--only", nargs="*", choices=MOLECULES, help="some of the molecules")
    parser.add_argument("--picoseconds", type=float, default=10.0, help="of dynamics of water, for each ensemble")
    parser.add_argument("--sizes", type=int, default=len(REPEATS), help="how many of 192, 1,536, 12,288, 98,304 atoms")
    parser.add_argument("--precision", default="float32", choices=("float32", "float64"), help="of what is timed")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="a local-frame model is not continuous")
    {"molecules": molecules, "water": water, "scaling": scaling, "draw": draw}[options.part](options)


if __name__ == "__main__":
    main()
