"""What jumps do to dynamics at constant energy: ethanol for 10 ps, with a DPMD and with a DeepPot-SE model.

Trains the models of local_frame_jumps.py and lets the molecule go from 300 K with each of them, for as long as it holds
together; all that takes about four minutes. DeepPot-SE keeps the energy; with DPMD each jump leaves it somewhere else.
"""

import tempfile
import warnings
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.db import connect
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from ase.neighborlist import natural_cutoffs, neighbor_list
from local_frame_jumps import ALCOHOLS, MODELS, train

from ase_deeppot import DeepPotCalculator
from ase_deeppot.demo.water import Record, drift
from ase_deeppot.fitting.plots import figure, save

TIMESTEP = 0.5  # fs
STEPS = 20_000
TEMPERATURE = 300  # K
LONGEST = 2.5  # A, of what was a bond; then the molecule has fallen apart


def free(atoms: Atoms, model: Path) -> Record:
    """Dynamics at constant energy from the structure given, up to the end or to a broken bond."""
    moving = atoms.copy()
    moving.calc = DeepPotCalculator(model)
    thermalize_momenta(moving, temperature_K=TEMPERATURE, rng=np.random.default_rng(0))
    Stationary(moving)
    i, j = neighbor_list("ij", moving, natural_cutoffs(moving, mult=1.2))  # bonded at the start
    notes = []
    for _ in VelocityVerlet(moving, TIMESTEP * units.fs).irun(STEPS):
        notes.append((moving.get_total_energy() / len(moving), moving.get_temperature()))
        if np.linalg.norm(moving.positions[j] - moving.positions[i], axis=1).max() > LONGEST:
            break
    energy, temperature = np.array(notes).T
    return Record(1e-3 * TIMESTEP * np.arange(len(notes)), energy, temperature, [], 0.0)


def report(name: str, record: Record) -> str:
    """Drift, and how far the molecule came."""
    end = "" if len(record.time) > STEPS else ", when a bond broke"
    return (f"{name}: {1e3 * drift(record).slope:+.2g} meV/atom/ps, {record.temperature[-200:].mean():.0f} K in the "
            f"last 0.1 ps; {record.time[-1]:.3g} ps{end}")


def draw(records: dict[str, Record], file: Path) -> None:
    """Energy from the start above temperature; a cross where a bond broke."""
    drawing = figure(6.5, 5.5)
    panels = drawing.subplots(2, 1, sharex=True)
    for n, (name, record) in enumerate(records.items()):
        for axes, values in zip(panels, (1e3 * (record.energy - record.energy[0]), record.temperature), strict=True):
            axes.plot(record.time, values, lw=0.8, color=f"C{n}", label=name)
            if len(record.time) <= STEPS:
                axes.plot(record.time[-1], values[-1], "x", ms=9, color=f"C{n}", label=f"{name}: a bond broke")
    panels[0].set_ylabel("energy, meV/atom")
    panels[1].set(xlabel="time, ps", ylabel="temperature, K", xlim=(0, 1e-3 * TIMESTEP * STEPS))
    panels[0].legend(frameon=False)
    save(drawing, file)


def main() -> None:
    """Train, run, draw."""
    warnings.filterwarnings("ignore", message="a local-frame model is not continuous")  # which is to be shown here
    warnings.filterwarnings("ignore", message=".* extrapolated")  # when it becomes hot
    ethanol = next(connect(ALCOHOLS).select(formula="C2H6O", split="test")).toatoms()
    records = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, descriptor in MODELS.items():
            records[name] = free(ethanol, train(descriptor, Path(folder) / name))
            print(report(name, records[name]))
    draw(records, Path("local_frame_drift.png"))
    print("wrote local_frame_drift.png")


if __name__ == "__main__":
    main()
