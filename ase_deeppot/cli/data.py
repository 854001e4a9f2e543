"""deeppot data."""

import argparse
from typing import TYPE_CHECKING

from ase_deeppot.cli.common import SOURCES, add_keys, keys, warn

if TYPE_CHECKING:
    from ase_deeppot.cli.common import Commands


def add(commands: "Commands") -> None:
    """Declare the commands of this module."""
    data = commands.add_parser("data", help="convert labelled structures: DeePMD-kit's systems, extxyz, traj, ase.db",
                               epilog="Structures, energies, forces and stresses or virials are carried over, "
                                      "nothing else.")
    data.add_argument("data", nargs="+", help=SOURCES + ", or folder or .hdf5 of DeePMD-kit systems")
    data.add_argument("-o", "--output", required=True,
                      help=".extxyz, .traj, .db; .hdf5 or a folder for DeePMD-kit systems; must not exist")
    data.add_argument("--mixed", action="store_true", help="systems of mixed type, one for each number of atoms")
    data.add_argument("--elements", nargs="+", default=[], metavar="ELEMENT",
                      help="order of the types in systems (default: by atomic number)")
    add_keys(data)
    data.set_defaults(run=_data)


def _data(options: argparse.Namespace) -> None:
    from ase_deeppot.fitting.conversion import write_frames
    from ase_deeppot.fitting.sources import open_for_now

    frames, reports = open_for_now(options.data, keys(options.key))
    for report in reports:
        if report.hint:
            warn(f"{report.name}: {report.hint}")
    systems = write_frames(frames, options.output, options.mixed, options.elements)
    plural = "s" * (len(systems) > 1)
    named = f" in {len(systems)} system{plural}: {' '.join(systems)}" if systems else ""
    print(f"wrote {options.output}, {frames.count} frames{named}")
