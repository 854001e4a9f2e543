"""Train on the public data sets of `accuracy/*.toml`, and table the errors on their test files beside the targets.

    python benchmarks/accuracy.py DATA [SET ...] [--minutes 30 | --steps N] [--seeds 3] [--taught] [--deepmd-python P]
    python benchmarks/accuracy.py --table

DATA has a folder for each set with train.extxyz and test.extxyz. Results are added to results/accuracy.csv, of which
--table prints the tables of docs/accuracy.md: medians over seeds, and errors of the mean of all their models. An input
says nothing but what is not a default.

With --minutes the number of steps is what fits into the time, by the time of a step that is measured first and kept in
the output folder, and there are no polynomials. Minutes are those of the steps. OMP_NUM_THREADS decides on the number
of threads. An interrupted run goes on when the command is given again; one that is finished is only evaluated. On a
machine that others use, say --shared: no times are noted then, and with --ms-step N (of a quiet machine) the time is
steps times that.

With --taught one more model of a set is trained for longer, without polynomials, on the frames and on what the mean of
the seeds' models says of structures that `deeppot sample` finds at --kelvin.

DeePMD-kit, where its Python is given, trains se_e2_a 25-50-100, axis 16, fitting 240x3 with the rates and prefactors of
its water example, with the same cutoff, precision and threads, for as many steps as fit into the time of ours (or for
--deepmd-steps); its model is evaluated by the same code.
"""

import argparse
import json
import shutil
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import accuracy_table
import deepmd_training
import torch
from accuracy_table import INPUTS, OURS, TAUGHT, THEIRS, Row
from machine import environment, processor, versions

from ase_deeppot import cli
from ase_deeppot.files import write_atomically
from ase_deeppot.fitting import FittingConfig, fit, read_config
from ase_deeppot.fitting.conversion import write_frames
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.learning_curve import read as read_curve
from ase_deeppot.fitting.metrics import predict
from ase_deeppot.fitting.sources import read_frames
from ase_deeppot.fitting.validation import errors_of
from ase_deeppot.interop import load_model
from ase_deeppot.potential.card import ModelCard

TABLE = Path(__file__).resolve().parent / "results" / "accuracy.csv"
WINDOW = 150  # steps that are timed, after as many that are not
STRUCTURES, TAUGHT_STEPS = 20_000, 80_000  # of --taught


def input_of(name: str, data: Path) -> FittingConfig:
    """The training input of a set, with its data where they are."""
    config = read_config(INPUTS / f"{name}.toml")
    sources = tuple(str(data / Path(source).relative_to(INPUTS)) for source in config.data.train)
    return replace(config, data=replace(config.data, train=sources))


def with_training(config: FittingConfig, folder: Path, **training: int) -> FittingConfig:
    """The same in another folder, with other steps or another seed."""
    return replace(config, output=str(folder), training=replace(config.training, **training))


def measured(file: Path, measure) -> float:
    """Milliseconds a step as noted in a file, or measured and noted now."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps({"ms_step": measure(), "threads": torch.get_num_threads()}).encode())
    return float(json.loads(file.read_text())["ms_step"])


def time_ours(config: FittingConfig, folder: Path) -> float:
    """Milliseconds a step, validation included, once all frames have been seen; least squares are left out."""
    shutil.rmtree(folder, ignore_errors=True)
    epoch = -(-read_frames(config.data.train)[0].count // max(1, config.training.batch_size))
    window = max(WINDOW, min(epoch, 4 * WINDOW))
    fit(config=with_training(config, folder, steps=3 * window, validate_every=window, fit_output_layers=False),
        quiet=True)
    curve = read_curve(folder / "lcurve.csv")
    return min(1e3 * (after.seconds - before.seconds) / window for before, after in pairwise(curve))


def train_ours(config: FittingConfig, name: str, steps: int, seed: int, options: argparse.Namespace,
               kind: str = "") -> Row:
    """Train, go on, or take what is there; its errors on the test file."""
    folder = options.output / name / f"{kind}{steps}-seed{seed}"
    config = with_training(config, folder, steps=steps, seed=seed)
    if not (folder / "model.pth").exists():
        restart = (folder / "checkpoint.pt").exists()
        if not fit(config=config, restart=restart, quiet=options.quiet).finished:
            raise KeyboardInterrupt
    seconds = read_curve(folder / "lcurve.csv")[-1].seconds
    return row([folder / "model.pth"], config, (name, OURS, seed, steps, seconds), shape_by(config), options)


def mean_of_ours(config: FittingConfig, name: str, steps: int, options: argparse.Namespace) -> Row:
    """Errors of the mean of the models of all seeds, which are there."""
    files = [options.output / name / f"{steps}-seed{seed}" / "model.pth" for seed in range(1, options.seeds + 1)]
    seconds = sum(read_curve(file.parent / "lcurve.csv")[-1].seconds for file in files)
    return row(files, config, (name, OURS, 1, steps, seconds), shape_by(config), options)


def train_taught(config: FittingConfig, name: str, steps: int, options: argparse.Namespace) -> Row:
    """A model with nets that learns from those of all seeds, which are there; its errors on the test file."""
    seeds = [options.output / name / f"{steps}-seed{seed}" for seed in range(1, options.seeds + 1)]
    dynamics = options.output / name / "dynamics.xyz"
    if not dynamics.exists():
        nets = seeds[0] / "nets.pth"
        moving = ["--moving", str(nets)] if nets.exists() else []
        if cli.main(["sample", *(str(folder / "model.pth") for folder in seeds), *moving, "--start", *config.data.train,
                     "--temperature", str(options.kelvin), "--structures", str(STRUCTURES), "-o", str(dynamics)]):
            raise SystemExit(f"expected {dynamics}, got none")
    config = with_training(replace(config, data=replace(config.data, train=(*config.data.train, str(dynamics)))),
                           config.output, monomials=0)
    found = train_ours(config, name, TAUGHT_STEPS, 1, options, "taught-")
    return found._replace(model=f"{found.model}, {TAUGHT} {options.seeds}")


def train_theirs(config: FittingConfig, name: str, steps: int, seed: int, options: argparse.Namespace) -> Row:
    """DeePMD-kit's training of so many steps, from the start; its errors on the test file."""
    folder = options.output / name / f"deepmd-{steps}-seed{seed}"
    model = folder / f"model.ckpt-{steps}.pt"
    began = time.perf_counter()
    if not model.exists():
        shutil.rmtree(folder, ignore_errors=True)
        run_theirs(config, folder, steps, seed, options)
    return row([model], config, (name, THEIRS, seed, steps, time.perf_counter() - began),
               lambda card: "se_e2_a 25-50-100, axis 16, 240x3", options)


def run_theirs(config: FittingConfig, folder: Path, steps: int, seed: int, options: argparse.Namespace) -> str:
    """DeePMD-kit's log; model and learning curve stay in the folder."""
    frames, _ = read_frames(config.data.train, config.data.keys)
    elements = config.model.type_map or tuple(load_type_map(frames))
    folder.mkdir(parents=True)
    write_frames(frames, folder / "train", elements=elements)
    settings = deepmd_training.training_input(elements, "auto", config.model.precision, steps, max(1, steps // 20), 0,
                                              config.model.rcut, "auto", seed)
    if frames.count and bool((frames.virials == frames.virials).any()):
        settings["loss"] |= {"start_pref_v": 0.02, "limit_pref_v": 1}
    return deepmd_training.train(options.deepmd_python, folder, settings, environment(torch.get_num_threads()))


def load_type_map(frames) -> list[str]:
    """Elements of frames by atomic number."""
    from ase.data import chemical_symbols

    return [chemical_symbols[number] for number in sorted(set(frames.numbers.tolist()))]


def time_theirs(config: FittingConfig, folder: Path, options: argparse.Namespace) -> float:
    """Milliseconds a step of DeePMD-kit, after the first window."""
    shutil.rmtree(folder, ignore_errors=True)
    log = run_theirs(config, folder, 2 * WINDOW, 1, options)
    return 1e3 * min(deepmd_training.seconds_a_step(log))


def row(files: list[Path], config: FittingConfig, run: tuple[str, str, int, int, float], describe,
        options: argparse.Namespace) -> Row:
    """Errors of a model, or of the mean of several, on the test file of its set, as `deeppot evaluate` finds them.

    Labels are as the input says.
    """
    name, program, seed, steps, seconds = run
    models = list(map(load_model, files))
    train, _ = read_frames(config.data.train, config.data.keys)
    frames, _ = read_frames(str(options.data / name / "test.extxyz"), config.data.keys)
    dataset = Dataset(frames, models[0].card.type_map, models[0].card.rcut, memory=0.0)
    errors = [1e3 * value if found.labels else None
              for found in errors_of(frames, predict(models, dataset))
              for value in (found.rmse, found.mae)]
    pace = options.ms_step if program == OURS else options.deepmd_ms_step
    return Row(name, program, seed, steps, None if options.shared else seconds / 60, pace, options.threads or
               torch.get_num_threads(), train.count, describe(models[0].card), *errors, len(files))


def shape_by(config: FittingConfig):
    """Function of a model's card: its shape in a few words."""
    return lambda card: describe(card, config.training.monomials)


def describe(card: ModelCard, monomials: int) -> str:
    """Shape of a model in a few words."""
    descriptor, net = card.config.descriptor, card.config.fitting_net
    order = f"bonds {card.config.bonds}, " if card.config.bonds else ""
    order += f"l_max {descriptor.l_max}, " if hasattr(descriptor, "l_max") else ""
    if getattr(descriptor, "bispectrum_neuron", 0):
        order += f"bispectrum {descriptor.bispectrum_neuron}, "
    widths = ["-".join(map(str, neuron)) for neuron in (descriptor.neuron, net.neuron)]
    widths[1] = f"{monomials} monomials" if net.polynomial else widths[1]
    return (f"{order}{widths[0]}, axis {descriptor.axis_neuron}, {widths[1]}, rcut {card.rcut:g}, "
            f"{card.config.precision}")


def run(name: str, options: argparse.Namespace) -> None:
    """All seeds of a set, ours and DeePMD-kit's."""
    config = input_of(name, options.data)
    paces = options.output / name
    if options.minutes:
        config = with_training(config, config.output, monomials=0)
        options.ms_step = measured(paces / "pace.json", lambda: time_ours(config, paces / "pace"))
        steps = round(6e4 * options.minutes / options.ms_step)
    else:
        steps = options.steps or config.training.steps
    theirs = options.deepmd_steps
    if options.deepmd_python and not theirs:
        if not options.ms_step:
            raise SystemExit("expected --minutes, --ms-step or --deepmd-steps with --deepmd-python")
        options.deepmd_ms_step = measured(paces / "deepmd-pace.json",
                                          lambda: time_theirs(config, paces / "deepmd-pace", options))
        theirs = round(steps * options.ms_step / options.deepmd_ms_step)
    for seed in range(1, options.seeds + 1):
        if not options.deepmd_only:
            show(train_ours(config, name, steps, seed, options), options.table_file)
        if options.deepmd_python:
            show(train_theirs(config, name, theirs, seed, options), options.table_file)
    if options.seeds > 1 and not options.deepmd_only:
        show(mean_of_ours(config, name, steps, options), options.table_file)
    if options.taught:
        show(train_taught(config, name, steps, options), options.table_file)


def show(found: Row, table: Path) -> None:
    """Note a result, and tell it."""
    accuracy_table.add(table, found)
    columns = [name for name in Row._fields if name.endswith(("_rmse", "_mae")) and getattr(found, name) is not None]
    errors = ", ".join(f"{column.replace('_', ' ')} {getattr(found, column):.4g}" for column in columns)
    of = f"mean of {found.members} models" if found.members > 1 else f"seed {found.seed}"
    print(f"{found.data}, {found.program}, {of}, {found.steps} steps: {errors} (meV, A)", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path, help="folder with a folder for each set")
    parser.add_argument("sets", nargs="*", help="default: all that have an input in accuracy/")
    parser.add_argument("--minutes", type=float, help="of training, of each run")
    parser.add_argument("--steps", type=int, help="instead (default: that of a training input)")
    parser.add_argument("--seeds", type=int, default=1, help="runs, with seeds from 1")
    parser.add_argument("--taught", action="store_true", help="train one more, on what the mean of the others says")
    parser.add_argument("--kelvin", type=float, default=550.0, help="of the dynamics for that (default: 550)")
    parser.add_argument("--deepmd-python", metavar="PYTHON", help="of an environment with DeePMD-kit")
    parser.add_argument("--deepmd-steps", type=int, help="instead of what fits into the time of ours")
    parser.add_argument("--deepmd-only", action="store_true", help="run DeePMD-kit only")
    parser.add_argument("--shared", action="store_true", help="note no times: the machine is shared")
    parser.add_argument("--ms-step", type=float, help="time of our step on a quiet machine")
    parser.add_argument("--deepmd-ms-step", type=float, help="the same of DeePMD-kit")
    parser.add_argument("--threads", type=int, help="that --ms-step is of")
    parser.add_argument("--output", type=Path, default=Path("accuracy-runs"), help="folder for the runs")
    parser.add_argument("--table-file", type=Path, default=TABLE, help="CSV that results are added to")
    parser.add_argument("--table", action="store_true", help="print the tables of the CSV, run nothing")
    parser.add_argument("--quiet", action="store_true", help="print results only")
    options = parser.parse_args()
    if not options.table and options.data is None:
        parser.error("expected the folder of the data, or --table")
    return options


def main() -> None:
    options = arguments()
    if options.table:
        print(accuracy_table.markdown(accuracy_table.read(options.table_file)), end="")
        return
    print(processor(), "|", versions(options.deepmd_python, ["deepmd-kit", "torch"]) if options.deepmd_python else "")
    for name in options.sets or sorted(path.stem for path in INPUTS.glob("*.toml") if path.stem != "targets"):
        run(name, options)


if __name__ == "__main__":
    main()
