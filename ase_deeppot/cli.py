"""The command line: deeppot train | evaluate | info | freeze | demo."""

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ase_deeppot import resources
from ase_deeppot.errors import ConfigError, DeepPotError
from ase_deeppot.version import __version__

if TYPE_CHECKING:
    from ase_deeppot.fitting.labels import KeyMapping


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; errors in the input become one line on stderr and exit status 2."""
    options = _parser().parse_args(arguments)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            return int(options.run(options) or 0)
        except DeepPotError as error:
            return _fail(str(error), 2)
        except OSError as error:
            return _fail(": ".join(str(part) for part in (error.filename, error.strerror or error) if part), 2)
        except KeyboardInterrupt:
            return _fail("interrupted", 130)


def _fail(message: str, status: int) -> int:
    print(f"deeppot: {message}", file=sys.stderr)
    return status


def _warn(text: Warning | str) -> None:
    print(f"deeppot: warning: {text}", file=sys.stderr)


def _show_warning(message: Warning | str, category: type[Warning], filename: str, lineno: int,
                  file: TextIO | None = None, line: str | None = None) -> None:
    """Show a warning to a user, who has no use for the line of code that it came from."""
    _warn(message)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="deeppot", description="Deep Potential models for ASE.")
    parser.add_argument("--version", action="version", version=f"ase-deeppot {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_train(commands)
    _add_evaluate(commands)
    _add_info(commands)
    _add_freeze(commands)
    _add_demo(commands)
    return parser


def _add_train(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    train = commands.add_parser("train", help="train a model from a TOML input")
    train.add_argument("input", help="training input, see docs/fitting.md")
    train.add_argument("--restart", action="store_true", help="go on from the checkpoint in the output folder")
    train.add_argument("--output", help="folder for checkpoint, learning curve and model, instead of the input's")
    train.add_argument("--quiet", action="store_true", help="print nothing; train.log is written all the same")
    train.set_defaults(run=_train)


def _add_evaluate(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    evaluate = commands.add_parser("evaluate", help="errors of a model on labelled structures")
    evaluate.add_argument("model", help="model file, or the name of a bundled model")
    evaluate.add_argument("data", nargs="+", help="file, glob, file@slice or file.db@selection")
    evaluate.add_argument("--plot", metavar="FILE.png", help="write parity plots; .pdf and others work as well")
    evaluate.add_argument("--key", action="append", default=[], metavar="LABEL=KEY",
                          help="name of a label in the data, such as energy=REF_energy")
    evaluate.set_defaults(run=_evaluate)


def _add_info(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    info = commands.add_parser("info", help="what a model file says of itself")
    info.add_argument("model", help="model file, or the name of a bundled model")
    info.add_argument("--json", action="store_true", help="the whole card as JSON")
    info.set_defaults(run=_info)


def _add_freeze(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    freeze = commands.add_parser("freeze", help="make a model file of a checkpoint")
    freeze.add_argument("checkpoint", help="checkpoint.pt of a training run, finished or not")
    freeze.add_argument("-o", "--output", help="model file to write (default: model.pth beside the checkpoint)")
    freeze.set_defaults(run=_freeze)


def _add_demo(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    demo = commands.add_parser("demo", help="water MD and a training run, in a few minutes")
    demo.add_argument("--output", default="demo-output", help="folder for pictures, trajectories and the model")
    demo.add_argument("--quick", action="store_true", help="a tenth of the steps, to see that everything runs")
    demo.set_defaults(run=_demo)


def _train(options: argparse.Namespace) -> int:
    from ase_deeppot.fitting import fit, read_config

    config = read_config(options.input)
    if options.output:
        config = replace(config, output=options.output)
    return 0 if fit(config=config, restart=options.restart, quiet=options.quiet).finished else 130


def _evaluate(options: argparse.Namespace) -> None:
    from ase_deeppot.fitting.datasets import Dataset
    from ase_deeppot.fitting.frames import suspect_units
    from ase_deeppot.fitting.metrics import accuracy, format_accuracy, parities, predict
    from ase_deeppot.fitting.plots import plot_parity
    from ase_deeppot.fitting.sources import read_frames
    from ase_deeppot.potential.archive import load_model

    picture = _writable(options.plot) if options.plot else None
    model = load_model(resources.model_path(options.model))
    frames, reports = read_frames(options.data, _keys(options.key))
    for text in [f"{report.name}: {report.hint}" for report in reports if report.hint] + suspect_units(frames):
        _warn(text)
    dataset = Dataset(frames, model.card.type_map, model.card.rcut, pairs_memory=0.0)
    columns = parities(frames, predict(model, dataset))
    print(format_accuracy([accuracy(parity) for parity in columns], frames.count))
    if picture:
        plot_parity(columns, picture)
        print(f"wrote {picture}")


def _writable(path: str | Path) -> Path:
    """A file to write; looked at before the work is done."""
    path = Path(path)
    if not path.parent.is_dir():
        raise ConfigError(f"cannot write {path}: no such folder {path.parent}")
    if path.is_dir():
        raise ConfigError(f"cannot write {path}: it is a folder")
    return path


def _keys(pairs: Sequence[str]) -> "KeyMapping":
    from ase_deeppot.config import parse
    from ase_deeppot.fitting.labels import KeyMapping

    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        raise ConfigError(f"expected --key LABEL=KEY, got {wrong[0]!r}")
    return parse(KeyMapping, dict(pair.split("=", 1) for pair in pairs), "--key")


def _info(options: argparse.Namespace) -> None:
    from ase_deeppot.potential.archive import read_card
    from ase_deeppot.potential.card import describe

    card = read_card(resources.model_path(options.model))
    print(json.dumps(asdict(card), indent=1) if options.json else describe(card))


def _freeze(options: argparse.Namespace) -> None:
    from ase_deeppot.fitting.checkpoint import load_checkpoint, model_of
    from ase_deeppot.potential.archive import save_model

    checkpoint = load_checkpoint(options.checkpoint)
    path = _writable(options.output or Path(options.checkpoint).with_name("model.pth"))
    save_model(path, model_of(checkpoint))
    print(f"wrote {path}, the model after {checkpoint.step} of {checkpoint.config.training.steps} steps")


def _demo(options: argparse.Namespace) -> None:
    from ase_deeppot.demo import run_demo

    run_demo(Path(options.output), options.quick)


if __name__ == "__main__":
    sys.exit(main())
