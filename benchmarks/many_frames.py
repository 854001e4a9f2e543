"""Peak memory and time of ``deeppot evaluate`` and ``deeppot data`` against the number of frames.

    python benchmarks/many_frames.py [--frames 1000 10000 100000] [--formats traj db hdf5 systems] [--csv FILE]

The frames are ethanol with displaced atoms and random labels, in one extended XYZ. Errors are told by the bundled model
of ethanol, with picture, table and predictions; then the file is converted to each format. Memory is resident, with
Python, PyTorch and all else.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.extxyz import write_extxyz
from machine import processor, versions

SPREAD = 0.03  # A
COLUMNS = ("frames", "command", "peak MB", "s", "ms a frame")


class Cost(NamedTuple):
    """Of one command."""

    megabytes: float
    seconds: float


def frames(count: int) -> Iterator[Atoms]:
    """Ethanol, displaced."""
    at_rest = molecule("CH3CH2OH")
    rng = np.random.default_rng(0)
    for _ in range(count):
        atoms = at_rest.copy()
        atoms.positions += rng.normal(scale=SPREAD, size=atoms.positions.shape)
        atoms.calc = SinglePointCalculator(atoms, energy=-4209.0 + rng.normal(),
                                           forces=rng.normal(size=atoms.positions.shape))
        yield atoms


def cost(*arguments: object) -> Cost:
    """Run ``deeppot`` in a process of its own."""
    command = [sys.executable, "-m", "ase_deeppot.cli", *map(str, arguments)]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"expected {' '.join(command)} to work, got status {status}")
    return Cost(usage.ru_maxrss / 1e3, time.perf_counter() - began)


def measure(count: int, formats: Sequence[str], folder: Path) -> Iterator[tuple[str, Cost]]:
    """Each command with so many frames."""
    source = folder / "ethanol.xyz"
    with source.open("w") as file:
        write_extxyz(file, frames(count))
    results = ("--plot", folder / "errors.png", "--csv", folder / "errors.csv", "--save", folder / "predictions.xyz")
    yield "evaluate", cost("evaluate", "ethanol", source, *results)
    for name in formats:
        yield f"data -o .{name}", cost("data", source, "-o", folder / (name if name == "systems" else f"a.{name}"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--formats", nargs="+", default=["extxyz", "traj", "db", "hdf5", "systems"])
    parser.add_argument("--csv", type=Path, help="write the table")
    options = parser.parse_args()
    print(f"{processor()}; {versions(sys.executable, ('numpy', 'torch', 'h5py', 'ase', 'ase-deeppot'))}")
    rows: list[tuple[object, ...]] = []
    for count in options.frames:
        with tempfile.TemporaryDirectory() as folder:
            for command, (megabytes, seconds) in measure(count, options.formats, Path(folder)):
                rows.append((count, command, f"{megabytes:.0f}", f"{seconds:.1f}", f"{1e3 * seconds / count:.2f}"))
                print("  ".join(f"{value!s:>16}" for value in rows[-1]), flush=True)
    if options.csv:
        with options.csv.open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *rows])


if __name__ == "__main__":
    main()
