"""deeppot convert | export: models from DeePMD-kit and for it."""

import argparse
from typing import TYPE_CHECKING

from ase_deeppot import resources
from ase_deeppot.cli.common import add_head, warn, writable

if TYPE_CHECKING:
    from ase_deeppot.cli.common import Commands

SAME = 1e-8  # difference of a series from its net, relative to its range, below which nobody sees it


def add(commands: "Commands") -> None:
    """Declare the commands of this module."""
    convert = commands.add_parser("convert", help="make a model file of a DeePMD-kit model")
    convert.add_argument("model", help="DeePMD-kit's .pth, .pt, .dp, .yaml, .pt2, .pb or .pbtxt")
    convert.add_argument("output", help="model file (.pth) to write")
    add_head(convert)
    convert.set_defaults(run=_convert)
    export = commands.add_parser("export", help="write a model for DeePMD-kit")
    export.add_argument("model", help="model file, or the name of a bundled model")
    export.add_argument("output", help="file (.dp) to write; `dp convert-backend` makes others of it")
    export.set_defaults(run=_export)


def _convert(options: argparse.Namespace) -> None:
    from ase_deeppot.interop import load_model
    from ase_deeppot.potential.archive import read_card, save_model
    from ase_deeppot.potential.card import describe

    path = writable(options.output)
    save_model(path, load_model(options.model, head=options.head))
    print(describe(read_card(path)))
    print(f"wrote {path}")


def _export(options: argparse.Namespace) -> None:
    from ase_deeppot.interop import load_model
    from ase_deeppot.interop.export import export

    path = writable(options.output)
    difference = export(load_model(resources.model_path(options.model)), path)
    print(f"wrote {path}; DeePMD-kit makes other files of it: dp convert-backend {path} model.pth")
    if difference > SAME:
        warn("the file holds the embedding nets themselves; here they are read as series, which differ from them by "
             f"{difference:.0e} of their range, and so will energies: see docs/deepmd.md")
