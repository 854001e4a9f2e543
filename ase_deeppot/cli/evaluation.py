"""deeppot evaluate."""

import argparse
from typing import TYPE_CHECKING

from ase_deeppot import resources
from ase_deeppot.cli.common import SOURCES, add_head, add_keys, keys, warn, writable
from ase_deeppot.files import write_atomically

if TYPE_CHECKING:
    from ase_deeppot.cli.common import Commands


def add(commands: "Commands") -> None:
    """Declare the commands of this module."""
    evaluate = commands.add_parser("evaluate", help="errors of a model on labelled structures")
    evaluate.add_argument("model", help="model file, or the name of a bundled model")
    evaluate.add_argument("data", nargs="+", help=SOURCES)
    evaluate.add_argument("--plot", metavar="FILE.png", help="draw predictions against labels and the errors; .pdf and "
                                                             "others work as well")
    evaluate.add_argument("--csv", metavar="FILE.csv", help="write all errors, in eV and A")
    evaluate.add_argument("--save", metavar="FILE.xyz", help="write the predictions as extended XYZ, labels as REF_*")
    evaluate.add_argument("--committee", nargs="+", default=[], metavar="MODEL",
                          help="further models: the mean of all is looked at, and how far they are apart")
    add_head(evaluate)
    add_keys(evaluate)
    evaluate.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> None:
    from ase_deeppot.fitting.breakdown import as_csv, format_breakdown
    from ase_deeppot.fitting.datasets import Dataset
    from ase_deeppot.fitting.error_plots import draw_errors
    from ase_deeppot.fitting.evaluation import evaluate
    from ase_deeppot.fitting.metrics import format_accuracy
    from ase_deeppot.fitting.plots import save
    from ase_deeppot.fitting.predicted import writing_predictions
    from ase_deeppot.fitting.progress import progress_bar
    from ase_deeppot.fitting.sources import open_for_now
    from ase_deeppot.fitting.units import suspect_units
    from ase_deeppot.interop import load_model

    picture, table, structures = (writable(path) if path else None
                                  for path in (options.plot, options.csv, options.save))
    models = [load_model(resources.model_path(name), head=options.head) for name in (options.model, *options.committee)]
    frames, reports = open_for_now(options.data, keys(options.key))
    dataset = Dataset(frames, models[0].card.type_map, models[0].card.rcut, memory=0.0)
    hints = [f"{report.name}: {report.hint}" for report in reports if report.hint]
    for text in hints + suspect_units([(frames, dataset.summary)]):
        warn(text)
    with writing_predictions(structures) as take, progress_bar(frames.count, 0, False, "frame") as progress:
        entries, drawn, apart = evaluate(models, dataset, take, progress)
    print(format_accuracy([entry.errors for entry in entries if entry.group == "all"], frames.count))
    if len(models) > 1:
        print(apart.text(len(models)))
    details = format_breakdown(entries)
    print(f"\n{details}" if details else "", end="\n" if details else "")
    if table:
        write_atomically(table, as_csv(entries))
    if picture:  # last, as it fails without matplotlib
        save(draw_errors(drawn, entries), picture)
    for path in (picture, table, structures):
        if path:
            print(f"wrote {path}")
