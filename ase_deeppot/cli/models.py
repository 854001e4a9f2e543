"""deeppot models | info | freeze | change-bias: commands about model files."""

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ase_deeppot import resources
from ase_deeppot.cli.common import SOURCES, add_head, add_keys, keys, writable

if TYPE_CHECKING:
    from ase_deeppot.cli.common import Commands


def add(commands: "Commands") -> None:
    """Declare the commands of this module."""
    models = commands.add_parser("models", help="the bundled models, or the card of one of them")
    models.add_argument("name", nargs="?", help="print the card of this one: data, errors, checks, what it is not for")
    models.set_defaults(run=_models)
    info = commands.add_parser("info", help="what a model file says of itself")
    info.add_argument("model", help="model file, DeePMD-kit's too, or the name of a bundled model")
    info.add_argument("--json", action="store_true", help="the whole card as JSON")
    add_head(info)
    info.set_defaults(run=_info)
    freeze = commands.add_parser("freeze", help="make a model file of a checkpoint")
    freeze.add_argument("checkpoint", help="checkpoint.pt of a training run, finished or not")
    freeze.add_argument("-o", "--output", help="model file to write (default: model.pth beside the checkpoint)")
    freeze.add_argument("--best", action="store_true", help="the best model so far by validation, not the last; as "
                        "it was then, without what a finished run does to its output layers in the end")
    freeze.set_defaults(run=_freeze)
    bias = commands.add_parser("change-bias", help="shift a model's energies to those of other data, forces unchanged")
    bias.add_argument("model", help="model file, or the name of a bundled model")
    bias.add_argument("data", nargs="+", help=SOURCES)
    bias.add_argument("-o", "--output", required=True, metavar="NEW.pth", help="model file to write")
    bias.add_argument("--method", choices=("least_squares", "isolated_atoms"), default="least_squares",
                      help="a fit of the energies that the model misses by composition, or energies of single atoms")
    add_keys(bias)
    bias.set_defaults(run=_change_bias)


def _models(options: argparse.Namespace) -> None:
    if options.name:
        page = resources.bundled_model(options.name).with_suffix(".md").read_text(encoding="utf-8")
        print("".join(line for line in page.splitlines(keepends=True) if not line.startswith("<!--")), end="")
        return
    from ase_deeppot.interop import read_card

    rows = [("name", "elements", "cutoff", "size", "held-out RMSE, energy and forces", "data; licence")]
    for name, path in resources.bundled_models().items():
        card = read_card(path)
        about = card.training.get("bundled", {})
        errors = about.get("rmse", {})
        rows.append((name, " ".join(card.elements), f"{card.rcut:g} A", f"{path.stat().st_size / 1e3:.0f} kB",
                     f"{1e3 * errors['energy']:.2f} meV/atom, {1e3 * errors['forces']:.1f} meV/A" if errors else "-",
                     f"{about.get('data', '-')}; {about.get('licence', '-')}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _info(options: argparse.Namespace) -> None:
    from ase_deeppot.interop import read_card
    from ase_deeppot.potential.card import describe

    card = read_card(resources.model_path(options.model), options.head)
    print(json.dumps(asdict(card), indent=1) if options.json else describe(card))


def _freeze(options: argparse.Namespace) -> None:
    from ase_deeppot.fitting.checkpoint import load_checkpoint, model_of
    from ase_deeppot.potential.archive import save_model

    checkpoint = load_checkpoint(options.checkpoint)
    path = writable(options.output or Path(options.checkpoint).with_name("model.pth"))
    model = model_of(checkpoint, options.best)
    save_model(path, model)
    print(f"wrote {path}, the model after {model.card.training['steps']} of {checkpoint.config.training.steps} steps")


def _change_bias(options: argparse.Namespace) -> None:
    from ase_deeppot.fitting.bias import change_bias
    from ase_deeppot.fitting.datasets import Dataset
    from ase_deeppot.fitting.sources import open_for_now
    from ase_deeppot.fitting.statistics import content_hashes
    from ase_deeppot.interop import load_model
    from ase_deeppot.potential.archive import save_model

    path = writable(options.output)
    model = load_model(resources.model_path(options.model))
    frames, _ = open_for_now(options.data, keys(options.key))
    type_map = model.card.type_map
    dataset = Dataset(frames, type_map, model.card.rcut, memory=0.0)
    shift = change_bias(model, dataset, options.method)
    shifts = dict(zip(type_map, shift.tolist(), strict=True))
    hashes = content_hashes(frames, dataset.summary)
    record = {"bias_changed": {"sources_sha256": hashes, "method": options.method, "shift": shifts}}
    save_model(path, model._replace(card=replace(model.card, training=model.card.training | record)))
    print("energy per atom changed by " + ", ".join(f"{symbol} {value:+.6g} eV" for symbol, value in shifts.items()))
    print(f"wrote {path}")
