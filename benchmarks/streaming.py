"""Train on more frames than may be in memory: peak memory, time to the first step and time a step.

    python benchmarks/streaming.py [--frames 1000 10000 100000] [--memory GB] [--no-prefetch] [--csv FILE]

The frames are rock salt with displaced atoms and harmonic forces, written by a generator into a cache file of frames,
as a source that is read would be. Each number of frames is made in one process and trained on in another, whose peak
memory (resident, with PyTorch and all else) and times are told: the median of the steps, and the mean time of all
threads on processors, which other programs disturb less. Nothing is validated. With the default --memory no set fits:
every frame of a step is read from disk, with its neighbour list and moments made anew, in a thread ahead of the step,
or with --no-prefetch by the step itself.
"""

import argparse
import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
from ase.build import bulk
from machine import processor, versions

from ase_deeppot.config import parse
from ase_deeppot.fitting import FittingConfig, cache
from ase_deeppot.fitting.frames import Frame
from ase_deeppot.fitting.prefetch import Prefetch
from ase_deeppot.fitting.preparation import Input, prepare
from ase_deeppot.fitting.tally import SourceReport
from ase_deeppot.fitting.trainer import StepInput, Trainer
from ase_deeppot.structures import Structure, from_atoms

SPRING, SPREAD = 2.0, 0.1  # eV/A^2, A
KEY = 64 * "a"  # of the cache file, which belongs to no source
COLUMNS = ("frames", "GB of frames", "making: peak MB", "training: peak MB", "first step after s", "ms a step",
           "processor ms a step")


class Unfetched(Prefetch[StepInput]):
    """Each step is made ready when it is asked for."""

    def __enter__(self) -> "Unfetched":
        return self


def frames(count: int, cells: tuple[int, int, int]) -> Iterator[Frame]:
    """Displaced rock salt."""
    lattice = from_atoms(bulk("NaCl", "rocksalt", a=5.64, cubic=True) * cells)
    rng = np.random.default_rng(0)
    for _ in range(count):
        moved = rng.normal(scale=SPREAD, size=lattice.positions.shape)
        structure = Structure(lattice.numbers, lattice.positions + moved, lattice.cell, lattice.pbc)
        yield Frame(structure, float(0.5 * SPRING * (moved**2).sum()), -SPRING * moved, np.full((3, 3), np.nan))


def make(folder: Path, count: int, cells: tuple[int, int, int]) -> dict[str, float]:
    """Write the cache file."""
    report = SourceReport("generated", count, count, count, 0, ("Na", "Cl"), "")
    kept = cache.store(folder, folder / "generated", KEY, frames(count, cells), lambda: report, lambda: True)
    return {"gigabytes": kept.frames.nbytes / 1e9, "peak": peak()}


def train(folder: Path, memory: float, steps: int, prefetch: bool = True) -> dict[str, float]:
    """Train with the default model in float32."""
    began = time.perf_counter()
    config = parse(FittingConfig, {
        "output": str(folder), "model": {"precision": "float32"}, "data": {"memory": memory},
        "training": {"steps": steps, "validate_every": 10 * steps, "checkpoint_every": 10 * steps,
                     "fit_output_layers": False}})
    kept = cache.load(folder, folder / "generated", KEY)
    if kept is None:
        raise SystemExit("expected the cache file that was just made, got none")
    whole = kept.frames.nbytes <= 1e9 * memory
    prepared = prepare(config, Input(kept.frames.select(slice(None)) if whole else kept.frames, None), None,
                       lambda text: None)
    times, processor_times = [], []
    trainer = Trainer(prepared.config, prepared.model, prepared.card, prepared.train, None, lambda text: None)
    if not prefetch:
        trainer.inputs = Unfetched(trainer.prepare, steps)
    trainer.run(lambda done: (times.append(time.perf_counter()), processor_times.append(time.process_time())))
    seconds = [after - before for before, after in pairwise(times)]
    busy = (processor_times[-1] - processor_times[0]) / (steps - 1)
    return {"first": times[0] - began, "step": median(seconds), "processor": busy, "peak": peak()}


def peak() -> float:
    """Largest resident memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def child(*arguments: object) -> dict[str, float]:
    """Run this script for one of its parts."""
    command = [sys.executable, __file__, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(count: int, options: argparse.Namespace) -> tuple[float, ...]:
    """A line of the table."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        common = ("--folder", folder, "--memory", options.memory, "--steps", options.steps, "--cells", *options.cells,
                  "--prefetch" if options.prefetch else "--no-prefetch")
        made = child("--part", "make", "--frames", count, *common)
        trained = child("--part", "train", *common)
    return (count, made["gigabytes"], made["peak"], trained["peak"], trained["first"], 1e3 * trained["step"],
            1e3 * trained["processor"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--cells", type=int, nargs=3, default=[2, 2, 1], help="cells of 8 atoms in a frame")
    parser.add_argument("--memory", type=float, default=0.001, help="GB, as data.memory")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--folder", default=None, help="for the files, by default the system's for temporary ones")
    parser.add_argument("--prefetch", action=argparse.BooleanOptionalAction, default=True,
                        help="make coming steps ready in a thread")
    parser.add_argument("--csv", type=Path, help="write the table")
    parser.add_argument("--part", choices=("make", "train"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        folder = Path(options.folder)
        print(json.dumps(make(folder, options.frames[0], tuple(options.cells)) if options.part == "make"
                         else train(folder, options.memory, options.steps, options.prefetch)))
        return
    print(f"{processor()}; {versions(sys.executable, ('numpy', 'torch', 'h5py', 'ase-deeppot'))}")
    print(f"{8 * int(np.prod(options.cells))} atoms a frame, data.memory = {options.memory:g} GB")
    print("  ".join(COLUMNS))
    rows = []
    for count in options.frames:
        rows.append(measure(count, options))
        print("  ".join(f"{value:>{len(name)}.4g}" for value, name in zip(rows[-1], COLUMNS, strict=True)), flush=True)
    if options.csv:
        with options.csv.open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *([f"{value:.5g}" for value in row] for row in rows)])


if __name__ == "__main__":
    main()
