"""deeppot lammps."""

import argparse
import sys
from typing import TYPE_CHECKING

from ase_deeppot.errors import DeepPotError

if TYPE_CHECKING:
    from ase_deeppot.cli.common import Commands


def add(commands: "Commands") -> None:
    """Declare the commands of this module."""
    lammps = commands.add_parser("lammps", help="run a LAMMPS input with 'pair_style deeppot', by mpirun in parallel",
                                 epilog="What follows -- goes to LAMMPS: -- -var T 300 -log none")
    lammps.add_argument("input", help="LAMMPS input, see docs/scaling.md")
    lammps.add_argument("--model", default="", help="model file or bundled model, where the input names none")
    lammps.add_argument("--device", default="cpu", help="cpu (default), or cuda: GPUs in turn")
    lammps.add_argument("--dtype", choices=["float64", "float32"], help="of the nets (default: as the file says)")
    lammps.set_defaults(run=_lammps)


def _lammps(options: argparse.Namespace) -> None:
    from ase_deeppot.lammps import launch

    try:
        launch.run(options.input, options.model, device=options.device, dtype=options.dtype,
                   arguments=options.for_engine)
    except (DeepPotError, OSError):
        if launch.rank() > 0:  # the first process says it for all
            sys.exit(2)
        raise
