"""Time training steps of a DeepPot-SE model (25-50-100, axis 16, 240x3, rcut 6), ours and DeePMD-kit's.

    python benchmarks/train_step.py water.extxyz [--deepmd-python PYTHON] [--race MINUTES]

The data are labelled frames of one and the same set of atoms (192 of water, for the figures in docs/performance.md),
of which each step sees one. Steps a second are medians over windows of steps, start-up and the first window left out,
in alternate runs of both. Our first window, which meets each frame for the first time and computes what is kept of it,
is given beside.

The race trains both from scratch for so many minutes, ours with its defaults for everything, DeePMD-kit with its
default loss and learning rates and the model above, and tells when the RMSE of the validation forces first was below
some values. Our time is the clock's, with validation and everything else; DeePMD-kit's is its steps times the seconds
of a step measured before, its validation not counted.
(It averages the RMSEs of the frames, which gives a little less than the RMSE of all forces that ours is.)
"""

import argparse
import csv
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

import deepmd_training
from ase import Atoms
from ase.io import read
from machine import environment, last_line, processor, versions

OURS = """
output = "fit"
[model]
type_map = {type_map}
rcut = 6.0
precision = "{precision}"
{shape}
[data]
train = ["{train}"]
validation = {validation}
validation_fraction = 0.0
keys = {{ stress = "" }}
[training]
steps = {steps}
batch_size = 1
validate_every = {every}
checkpoint_every = {steps}
fit_output_layers = {fit_output_layers}
device = "{device}"
[learning_rate]
{recipe}
"""
# The steps that are timed do DeePMD-kit's work: its shape of model, its optimizer. The race is one of defaults.
SAME = {
    "shape": "descriptor = { neuron = [25, 50, 100], axis_neuron = 16, order = 32, l_max = 1 }\n"
             "fitting_net = { neuron = [240, 240, 240] }",
    "recipe": 'optimizer = "adam"\ndecay = "exponential"',
    "fit_output_layers": "false",
}
DEFAULTS = {"shape": "", "recipe": "", "fit_output_layers": "true"}


class Task(NamedTuple):
    """What both train on."""

    train: str  # a source, file@slice
    validation: str  # the same; empty for none
    precision: str
    steps: int
    every: int  # steps between lines of the learning curve
    settings: Mapping[str, str]  # SAME or DEFAULTS


class Point(NamedTuple):
    """A line of a learning curve."""

    step: int
    seconds: float
    error: float  # RMSE of the validation forces, eV/A


def frames_of(source: str) -> list[Atoms]:
    """Frames of a source ``file@slice``; none of an empty one."""
    return list(read(source)) if source else []


def train_ours(task: Task, folder: Path, options: argparse.Namespace) -> list[Point]:
    """Run ``deeppot train``; its learning curve."""
    validation = [task.validation] if task.validation else []
    text = OURS.format(type_map=options.type_map, validation=validation, precision=task.precision, train=task.train,
                       steps=task.steps, every=task.every, device=options.device, **task.settings)
    (folder / "input.toml").write_text(text)
    command = [sys.executable, "-m", "ase_deeppot.cli", "train", "input.toml", "--quiet"]
    env = environment(options.threads, options.device)
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"deeppot train: {last_line(done.stderr)}")
    with (folder / "fit" / "lcurve.csv").open() as file:
        return [Point(int(row["step"]), float(row["seconds"]), float(row["rmse_f_val"] or "nan"))
                for row in csv.DictReader(file)]


def train_theirs(task: Task, folder: Path, options: argparse.Namespace) -> str:
    """Run ``dp --pt train``; its log. The learning curve stays in the folder."""
    validation = frames_of(task.validation)
    deepmd_training.write_system(folder / "train", frames_of(task.train), options.type_map)
    if validation:
        deepmd_training.write_system(folder / "validation", validation, options.type_map)
    settings = deepmd_training.training_input(options.type_map, options.sel, task.precision, task.steps, task.every,
                                              len(validation))
    return deepmd_training.train(options.deepmd_python, folder, settings,
                                 environment(options.threads, options.device))


def time_ours(task: Task, options: argparse.Namespace) -> tuple[float, list[float]]:
    """Seconds a step in the first window, and in each other one."""
    with tempfile.TemporaryDirectory() as folder:
        curve = train_ours(task, Path(folder), options)
    windows = [(after.seconds - before.seconds) / (after.step - before.step)
               for before, after in pairwise(curve)]
    return curve[0].seconds / curve[0].step, windows


def time_theirs(task: Task, options: argparse.Namespace) -> list[float]:
    """Seconds a step in each window but the first."""
    with tempfile.TemporaryDirectory() as folder:
        return deepmd_training.seconds_a_step(train_theirs(task, Path(folder), options))


def speeds(precision: str, options: argparse.Namespace) -> float | None:
    """Print steps a second; returns the seconds of a step of DeePMD-kit, None without it."""
    window = options.window
    mine = Task(f"{options.data}@:{window}", "", precision, window * (1 + options.windows), window, SAME)
    theirs = mine._replace(steps=options.deepmd_window * (1 + options.windows), every=options.deepmd_window)
    first, ours, others = [], [], []
    for _ in range(options.rounds):
        start, windows = time_ours(mine, options)
        first.append(start)
        ours += windows
        if options.deepmd_python:
            others += time_theirs(theirs, options)
    a, b = median(ours), median(others) if others else None
    compared = f"{1 / b:10.2f} {1e3 * b:9.1f} {b / a:7.1f}x" if b else "not given"
    print(f"{precision:>10} {1 / a:10.2f} {1e3 * a:9.1f} {1e3 * median(first):13.1f}   {compared}", flush=True)
    return b


def race(precision: str, theirs: float | None, options: argparse.Namespace) -> None:
    """Train both from scratch, one after the other, and print when their errors passed the targets."""
    steps = options.window * (1 + options.windows)
    task = Task(f"{options.data}@:{options.window}", "", precision, steps, options.window, DEFAULTS)
    ours = median(time_ours(task, options)[1])
    print(f"race, {precision}, {options.race:g} minutes each: minutes to a validation force RMSE below ... eV/A")
    print(" " * 12 + " ".join(f"{target:>8g}" for target in options.target) + "      last")
    for name, pace in (("ours", ours), ("DeePMD-kit", theirs)):
        curve = run_race(name, precision, pace, options) if pace else []
        passed = [next((f"{p.seconds / 60:8.2f}" for p in curve if p.error <= target), f"{'-':>8}")
                  for target in options.target]
        last = (f"{curve[-1].error:.4f} after {curve[-1].step} steps, {curve[-1].seconds / 60:.2f} minutes" if curve
                else "not given")
        print(f"{name:<12}" + " ".join(passed) + f"      {last}", flush=True)


def run_race(name: str, precision: str, pace: float, options: argparse.Namespace) -> list[Point]:
    """Learning curve of a run of as many steps as fit into the time at the pace measured before."""
    steps = max(options.points, int(60 * options.race / pace))
    settings = DEFAULTS if name == "ours" else SAME
    held_out = f"-{options.held_out}"
    task = Task(f"{options.data}@:{held_out}", f"{options.data}@{held_out}:", precision, steps, steps // options.points,
                settings)
    with tempfile.TemporaryDirectory() as folder:
        if name == "ours":
            return train_ours(task, Path(folder), options)
        train_theirs(task, Path(folder), options)
        return [Point(step, pace * step, error) for step, error in deepmd_training.force_errors(Path(folder))]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="extended XYZ file with energies and forces")
    parser.add_argument("--type-map", nargs="+", default=["O", "H"])
    parser.add_argument("--sel", type=int, nargs="+", default=[46, 92], help="DeePMD-kit's sel")
    parser.add_argument("--precision", nargs="+", default=["float64", "float32"], choices=("float64", "float32"))
    parser.add_argument("--device", default="cpu", help="where ours trains; DeePMD-kit uses a GPU if it sees one")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--window", type=int, default=40, help="steps in a window of ours, and frames trained on")
    parser.add_argument("--windows", type=int, default=4, help="windows that count in a run")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each")
    parser.add_argument("--deepmd-python", default="", help="Python of an environment with DeePMD-kit")
    parser.add_argument("--deepmd-window", type=int, default=10, help="steps in a window of DeePMD-kit's")
    parser.add_argument("--race", type=float, default=0.0, metavar="MINUTES", help="race both for so long")
    parser.add_argument("--target", type=float, nargs="+", default=[0.3, 0.2, 0.15, 0.1, 0.07, 0.05], help="eV/A")
    parser.add_argument("--held-out", type=int, default=20, help="last frames of the data, to validate the race with")
    parser.add_argument("--points", type=int, default=25, help="validations in the race")
    options = parser.parse_args()
    options.data = str(Path(options.data).resolve())
    return options


def main() -> None:
    options = arguments()
    print(f"{processor()}, {options.threads} threads, device {options.device}, {len(read(options.data))} atoms a frame")
    print(versions(sys.executable, ("ase", "numpy", "scipy", "torch", "numba", "ase-deeppot")))
    if options.deepmd_python:
        print(f"DeePMD-kit: {versions(options.deepmd_python, ('deepmd-kit', 'torch'))}")
    titles = f"{'':>10} {'steps/s':>10} {'ms/step':>9} {'first window':>13}"
    print(f"{titles}   {'DeePMD-kit':>10} {'ms/step':>9} {'ratio':>8}")
    paces = {precision: speeds(precision, options) for precision in options.precision}
    if options.race:
        for precision, theirs in paces.items():
            race(precision, theirs, options)


if __name__ == "__main__":
    main()
