"""The command line: one module a group of commands, each with a function ``add`` that declares them."""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from itertools import takewhile
from typing import TextIO

from ase_deeppot.cli import data, demonstration, dynamics, evaluation, exchange, models, sampling, training
from ase_deeppot.cli.common import warn
from ase_deeppot.errors import DeepPotError
from ase_deeppot.version import __version__

# How often a thread of torch's looks for work before it sleeps. As torch has it, threads that wait for one that another
# program has displaced use up the processor that it waits for: a step of training took seconds instead of 40 ms.
SPIN = ("GOMP_SPINCOUNT", "1000")
GROUPS = (training, evaluation, sampling, models, exchange, data, dynamics, demonstration)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; errors in the input become one line on stderr and exit status 2."""
    os.environ.setdefault(*SPIN)  # torch reads it when it is imported, which the commands do
    options = _options(list(sys.argv[1:] if arguments is None else arguments))
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


def _show_warning(message: Warning | str, category: type[Warning], filename: str, lineno: int,
                  file: TextIO | None = None, line: str | None = None) -> None:
    """Show a warning to a user, who has no use for the line of code that it came from."""
    warn(message)


def _options(arguments: list[str]) -> argparse.Namespace:
    """What the user wants; what follows ``--`` is for the engine that a command runs, as it is."""
    ours = list(takewhile(lambda word: word != "--", arguments)) if arguments[:1] == ["lammps"] else arguments
    options = _parser().parse_args(ours)
    options.for_engine = arguments[len(ours) + 1 :]
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="deeppot", description="Deep Potential models for ASE.")
    parser.add_argument("--version", action="version", version=f"ase-deeppot {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for group in GROUPS:
        group.add(commands)
    return parser
