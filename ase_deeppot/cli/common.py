"""What several commands need. Nothing slow is imported before a command runs."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ase_deeppot.errors import ConfigError

if TYPE_CHECKING:
    from ase_deeppot.fitting.labels import KeyMapping

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

SOURCES = "file, glob, file@slice or file.db@selection"


def warn(text: Warning | str) -> None:
    """A line on stderr that stops nothing."""
    print(f"deeppot: warning: {text}", file=sys.stderr)


def writable(path: str | Path) -> Path:
    """A file to write; looked at before the work is done."""
    path = Path(path)
    if not path.parent.is_dir():
        raise ConfigError(f"cannot write {path}: no such folder {path.parent}")
    if path.is_dir():
        raise ConfigError(f"cannot write {path}: it is a folder")
    return path


def add_keys(parser: argparse.ArgumentParser) -> None:
    """Option for the names of labels, which :func:`keys` reads."""
    parser.add_argument("--key", action="append", default=[], metavar="LABEL=KEY",
                        help="name of a label in the data, such as energy=REF_energy")


def keys(pairs: Sequence[str]) -> "KeyMapping":
    """Names of the labels from ``LABEL=KEY`` arguments."""
    from ase_deeppot.config import parse
    from ase_deeppot.fitting.labels import KeyMapping

    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        raise ConfigError(f"expected --key LABEL=KEY, got {wrong[0]!r}")
    return parse(KeyMapping, dict(pair.split("=", 1) for pair in pairs), "--key")
