"""The demonstration, from the first line on the terminal to the last."""

import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import cast

import numpy as np
from ase import Atoms
from ase.io import read

from ase_deeppot.calculator import DeepPotCalculator
from ase_deeppot.demo.pictures import plot_nve, plot_rdf
from ase_deeppot.demo.rdf import first_peak, mean_rdf, read_rdf
from ase_deeppot.demo.training import INPUT, train
from ase_deeppot.demo.water import TEMPERATURE, Record, Say, drift, langevin, nve, relax_molecule, speed
from ase_deeppot.errors import ConfigError
from ase_deeppot.fitting.plots import figure
from ase_deeppot.fitting.progress import Log
from ase_deeppot.resources import find

LOG = "demo.log"
LANGEVIN_STEPS = 6000
NVE_STEPS = 2000
PEAKS = {"OO": (2.4, 3.5), "OH": (1.4, 2.3), "HH": (1.9, 3.0)}  # A, between molecules


def run_demo(output: Path, quick: bool = False) -> None:
    """Run molecular dynamics of water with the bundled model, then train a small model of alcohols.

    Parameters
    ----------
    output : Path
        Folder for pictures, trajectories, model and log; made, or that of an earlier demonstration.
    quick : bool
        A tenth of the steps.

    Raises
    ------
    PlotError
        Without matplotlib.
    ConfigError
        If the folder holds something else.
    """
    began = time.monotonic()
    figure(1.0, 1.0)  # without matplotlib, say so now and not after minutes
    _prepare(output)
    log = Log(output / LOG)
    _water(output, quick, log)
    log("\n== 4. Training a model of water and alcohols from an ASE database ==")
    if not train(output / "alcohols", quick).finished:
        raise KeyboardInterrupt
    log(f"\nThe demonstration took {time.monotonic() - began:.0f} s.")
    log(_what_now(output))


def _water(output: Path, quick: bool, say: Say) -> None:
    """Relaxation, NVT and NVE of 64 water molecules."""
    atoms = cast(Atoms, read(find("examples/data/water_box.extxyz")))
    atoms.calc = DeepPotCalculator("water")
    say(f"== 1. Relaxing a water molecule: {len(atoms)} atoms, periodic, bundled model 'water' ==")
    relax_molecule(atoms, output / "water_relax.traj", say)
    say(f"\n== 2. Molecular dynamics at {TEMPERATURE} K (Langevin) ==")
    record = langevin(atoms, LANGEVIN_STEPS // (10 if quick else 1), output / "water_nvt.traj", say)
    say(f"{speed(record, len(atoms))}; mean temperature {np.mean(record.temperature):.0f} K")
    _compare_rdf(record, output / "water_rdf.png", say)
    say("\n== 3. Molecular dynamics at constant energy (velocity Verlet) ==")
    record = nve(atoms, NVE_STEPS // (10 if quick else 1), output / "water_nve.traj", say)
    say(speed(record, len(atoms)))
    _show_drift(record, output / "water_nve.png", say)


def _compare_rdf(record: Record, picture: Path, say: Say) -> None:
    rdf, reference = mean_rdf(record.frames), read_rdf(find("examples/data/water_rdf.csv"))
    say(f"first peak of g(r) between molecules, from {len(record.frames)} frames:")
    for pair, window in PEAKS.items():
        (r, height), (r_dft, height_dft) = (first_peak(curves, pair, *window) for curves in (rdf, reference))
        say(f"  {'-'.join(pair)}  {height:.2f} at {r:.2f} A   DFT {height_dft:.2f} at {r_dft:.2f} A")
    plot_rdf(rdf, reference, picture)


def _show_drift(record: Record, picture: Path, say: Say) -> None:
    conservation = drift(record)
    say(f"drift of the total energy {1e3 * conservation.slope:+.3f} meV/atom/ps, rms fluctuation "
        f"{1e3 * conservation.spread:.3f} meV/atom")
    plot_nve(record, conservation, picture)


def _prepare(output: Path) -> None:
    """Make the folder; of an earlier demonstration only the training is in the way, and is removed."""
    if output.is_dir() and any(output.iterdir()) and not (output / LOG).exists():
        raise ConfigError(f"expected an empty folder or that of an earlier demo, got {output}; choose another --output")
    output.mkdir(parents=True, exist_ok=True)
    if (output / "alcohols").exists():
        shutil.rmtree(output / "alcohols")


def _what_now(output: Path) -> str:
    deeppot, python = _program("deeppot"), _program(Path(sys.executable).name)
    model, data = output / "alcohols" / "model.pth", f"{_path(find('examples/data/alcohols.db'))}@split=test"
    return f"""
== What to look at, in {output} ==
water_rdf.png                  g(r) of the model over that of the DFT frames
water_nve.png                  total energy and temperature at constant energy
alcohols/learning_curve.png    errors during the training
alcohols/parity.png            predictions against labels, on frames the training did not see
alcohols/report.html           the training on one page, for a browser
water_nvt.traj, water_nve.traj, water_relax.traj   trajectories, for `ase gui` or ase.io.read
alcohols/model.pth             the trained model
{LOG}, alcohols/train.log   what was printed

== How to go on ==
{deeppot} info water
{deeppot} evaluate {shlex.quote(str(model))} {shlex.quote(data)} --plot parity.png
{deeppot} train {shlex.quote(_path(find(INPUT)))} --output my-model
{python} {shlex.quote(_path(find("examples/water_md.py")))}"""


def _program(name: str) -> str:
    """How to call a program of this environment: by name where the shell finds it, else by path."""
    mine = Path(sys.executable).with_name(name)
    on_path = shutil.which(name)
    return name if (on_path and Path(on_path) == mine) or not mine.exists() else shlex.quote(_path(mine))


def _path(path: Path) -> str:
    """Relative to the current folder where that is shorter to read."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
