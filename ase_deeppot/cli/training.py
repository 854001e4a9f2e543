"""deeppot train."""

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ase_deeppot.cli.common import Commands


def add(commands: "Commands") -> None:
    """Declare the commands of this module."""
    train = commands.add_parser("train", help="train a model from a TOML input")
    train.add_argument("input", help="training input, see docs/fitting.md")
    train.add_argument("--restart", action="store_true", help="go on from the checkpoint in the output folder")
    train.add_argument("--output", help="folder for checkpoint, learning curve and model, instead of the input's")
    train.add_argument("--quiet", action="store_true", help="print nothing; train.log is written all the same")
    train.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> int:
    from ase_deeppot.fitting import fit, read_config

    config = read_config(options.input)
    if options.output:
        config = replace(config, output=options.output)
    return 0 if fit(config=config, restart=options.restart, quiet=options.quiet).finished else 130
