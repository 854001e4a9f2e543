"""deeppot evaluate."""

import argparse
from typing import TYPE_CHECKING

from ase_deeppot import resources
from ase_deeppot.cli.common import SOURCES, add_keys, keys, warn, writable

if TYPE_CHECKING:
    from ase_deeppot.cli.common import Commands


def add(commands: "Commands") -> None:
    """Declare the commands of this module."""
    evaluate = commands.add_parser("evaluate", help="errors of a model on labelled structures")
    evaluate.add_argument("model", help="model file, or the name of a bundled model")
    evaluate.add_argument("data", nargs="+", help=SOURCES)
    evaluate.add_argument("--plot", metavar="FILE.png", help="write parity plots; .pdf and others work as well")
    add_keys(evaluate)
    evaluate.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> None:
    from ase_deeppot.fitting.datasets import Dataset
    from ase_deeppot.fitting.metrics import accuracy, format_accuracy, parities, predict
    from ase_deeppot.fitting.plots import plot_parity
    from ase_deeppot.fitting.sources import read_frames
    from ase_deeppot.fitting.units import suspect_units
    from ase_deeppot.potential.archive import load_model

    picture = writable(options.plot) if options.plot else None
    model = load_model(resources.model_path(options.model))
    frames, reports = read_frames(options.data, keys(options.key))
    for text in [f"{report.name}: {report.hint}" for report in reports if report.hint] + suspect_units(frames):
        warn(text)
    dataset = Dataset(frames, model.card.type_map, model.card.rcut, pairs_memory=0.0)
    columns = parities(frames, predict(model, dataset))
    print(format_accuracy([accuracy(parity) for parity in columns], frames.count))
    if picture:
        plot_parity(columns, picture)
        print(f"wrote {picture}")
