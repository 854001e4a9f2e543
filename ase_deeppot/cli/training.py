"""deeppot train | learning-curve | schema."""

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from ase_deeppot.cli.common import SOURCES, add_keys, keys
from ase_deeppot.errors import ConfigError

if TYPE_CHECKING:
    from ase_deeppot.cli.common import Commands
    from ase_deeppot.fitting import FittingConfig


def add(commands: "Commands") -> None:
    """Declare the commands of this module."""
    train = commands.add_parser("train", help="train a model from data, or as a TOML input says")
    _add_input(train)
    train.add_argument("--restart", action="store_true", help="go on from the checkpoint in the output folder")
    train.add_argument("--init-model", metavar="MODEL", help="start from this model, of these or other species")
    train.add_argument("--dry-run", action="store_true", help="show data, warnings and model; train and write nothing")
    train.add_argument("--quiet", action="store_true", help="print nothing; train.log is written all the same")
    train.set_defaults(run=_train)
    curve = commands.add_parser("learning-curve", help="error against the number of training frames")
    _add_input(curve)
    curve.add_argument("--sizes", nargs="+", type=int, required=True, metavar="N", help="numbers of training frames")
    curve.add_argument("--quiet", action="store_true", help="print the table only")
    curve.set_defaults(run=_learning_curve)
    schema = commands.add_parser("schema", help="every option of a training input, as an input with the defaults")
    schema.add_argument("--markdown", action="store_true", help="as tables")
    schema.set_defaults(run=_schema)


def _add_input(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", nargs="+", help=f"training input (.toml), or data to train on: {SOURCES}")
    parser.add_argument("--validation", nargs="+", default=[], metavar="DATA", help="data to validate with")
    parser.add_argument("--output", help="folder for checkpoint, learning curve and model, instead of the input's")
    parser.add_argument("--seed", type=int, help="instead of the input's")
    add_keys(parser)


def _config(options: argparse.Namespace) -> "FittingConfig":
    """The training input: a TOML file, or data files and defaults; options of the command line count more."""
    from ase_deeppot.fitting import FittingConfig, read_config

    inputs = [name for name in options.input if name.lower().endswith(".toml")]
    if inputs and len(options.input) > 1:
        raise ConfigError(f"expected one training input or data, got {len(options.input)} files with {inputs[0]} "
                          "among them")
    config = read_config(inputs[0]) if inputs else FittingConfig()
    data = config.data if inputs else replace(config.data, train=tuple(options.input))
    if options.validation:
        data = replace(data, validation=tuple(options.validation))
    if options.key:
        data = replace(data, keys=keys(options.key))
    config = replace(config, data=data)
    if options.seed is not None:
        config = replace(config, training=replace(config.training, seed=options.seed))
    return replace(config, output=options.output) if options.output else config


def _train(options: argparse.Namespace) -> int:
    from ase_deeppot.fitting import fit, preview

    config = _config(options)
    if options.init_model:
        config = replace(config, init_model=options.init_model)
    if options.dry_run:
        preview(config=config, restart=options.restart)
        return 0
    return 0 if fit(config=config, restart=options.restart, quiet=options.quiet).finished else 130


def _learning_curve(options: argparse.Namespace) -> int:
    from ase_deeppot.fitting.sizes import train_sizes

    return 0 if train_sizes(_config(options), options.sizes, options.quiet) else 130


def _schema(options: argparse.Namespace) -> None:
    from ase_deeppot.fitting import FittingConfig
    from ase_deeppot.schema import as_markdown, as_toml

    print((as_markdown if options.markdown else as_toml)(FittingConfig), end="")
