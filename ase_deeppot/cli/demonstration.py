"""deeppot demo."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ase_deeppot.cli.common import Commands


def add(commands: "Commands") -> None:
    """Declare the commands of this module."""
    demo = commands.add_parser("demo", help="water MD and a training run, in a few minutes")
    demo.add_argument("--output", default="demo-output", help="folder for pictures, trajectories and the model")
    demo.add_argument("--quick", action="store_true", help="a tenth of the steps, to see that everything runs")
    demo.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> None:
    from ase_deeppot.demo import run_demo

    run_demo(Path(options.output), options.quick)
