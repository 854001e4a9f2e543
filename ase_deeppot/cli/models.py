"""deeppot info | freeze: commands about model files."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ase_deeppot import resources
from ase_deeppot.cli.common import writable

if TYPE_CHECKING:
    from ase_deeppot.cli.common import Commands


def add(commands: "Commands") -> None:
    """Declare the commands of this module."""
    info = commands.add_parser("info", help="what a model file says of itself")
    info.add_argument("model", help="model file, or the name of a bundled model")
    info.add_argument("--json", action="store_true", help="the whole card as JSON")
    info.set_defaults(run=_info)
    freeze = commands.add_parser("freeze", help="make a model file of a checkpoint")
    freeze.add_argument("checkpoint", help="checkpoint.pt of a training run, finished or not")
    freeze.add_argument("-o", "--output", help="model file to write (default: model.pth beside the checkpoint)")
    freeze.set_defaults(run=_freeze)


def _info(options: argparse.Namespace) -> None:
    from ase_deeppot.potential.archive import read_card
    from ase_deeppot.potential.card import describe

    card = read_card(resources.model_path(options.model))
    print(json.dumps(asdict(card), indent=1) if options.json else describe(card))


def _freeze(options: argparse.Namespace) -> None:
    from ase_deeppot.fitting.checkpoint import load_checkpoint, model_of
    from ase_deeppot.potential.archive import save_model

    checkpoint = load_checkpoint(options.checkpoint)
    path = writable(options.output or Path(options.checkpoint).with_name("model.pth"))
    save_model(path, model_of(checkpoint))
    print(f"wrote {path}, the model after {checkpoint.step} of {checkpoint.config.training.steps} steps")
