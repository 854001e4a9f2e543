"""Make a bundled model: train as its input says, evaluate on held-out frames, write model file and table of its card.

    python benchmarks/bundle.py NAME --data DATA [--runs FOLDER] [--trained MODEL.pth]

DATA has the folder that models/NAME.toml names, with train.extxyz and test.extxyz. An interrupted run goes on when the
command is given again. --trained takes a model that the input made elsewhere.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import card_tables
from card_tables import MODELS

from ase_deeppot.fitting import fit, read_config
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.metrics import Accuracy, predict
from ase_deeppot.fitting.sources import read_frames
from ase_deeppot.fitting.validation import errors_of
from ase_deeppot.interop import load_model
from ase_deeppot.potential.archive import save_model

DATA = {  # what `deeppot models` says
    "water": ("DeePMD-kit's water example (PBE0+TS, LGPL-3.0)", "MIT"),
    "Li": ("mlearn (PBE, BSD-3-Clause)", "MIT"),
    "Mo": ("mlearn (PBE, BSD-3-Clause)", "MIT"),
    "ethanol": ("rMD17 (PBE, as in BOTNet-datasets, MIT)", "MIT"),
    "TiO2": ("aenet-PyTorch (PBE, MIT)", "MIT"),
}


def trained(name: str, options: argparse.Namespace) -> Path:
    """The model that the input makes, in the folder for runs."""
    config = read_config(MODELS / f"{name}.toml")
    sources = tuple(str(options.data / Path(source).relative_to(MODELS)) for source in config.data.train)
    folder = options.runs / name
    config = replace(config, output=str(folder), data=replace(config.data, train=sources))
    if not (folder / "model.pth").exists():
        restart = (folder / "checkpoint.pt").exists()
        if not fit(config=config, restart=restart).finished:
            raise KeyboardInterrupt
    return folder / "model.pth"


def table(name: str, size: int, frames: int, errors: tuple[Accuracy, ...]) -> str:
    """Errors and size as rows of the card's table."""
    lines = [f"| file | {name}.pth, {size / 1e3:.0f} kB |", "|---|---|"]
    for row, unit, digits in zip(errors, ("meV/atom", "meV/Å", "meV/Å³"), (2, 1, 2), strict=True):
        if row.labels:
            lines.append(f"| {row.name}, {frames} held-out frames | RMSE {1e3 * row.rmse:.{digits}f} {unit}, MAE "
                         f"{1e3 * row.mae:.{digits}f} {unit} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=list(DATA))
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--runs", type=Path, default=Path("bundle-runs"), help="folder for training runs")
    parser.add_argument("--trained", type=Path, help="take this model instead of training one")
    options = parser.parse_args()
    name = options.name
    model = load_model(options.trained or trained(name, options))
    folder = Path(read_config(MODELS / f"{name}.toml").data.train[0]).parent.relative_to(MODELS)
    frames, _ = read_frames(str(options.data / folder / "test.extxyz"))
    dataset = Dataset(frames, model.card.type_map, model.card.rcut, memory=0.0)
    errors = errors_of(frames, predict([model], dataset))
    about = {"data": DATA[name][0], "licence": DATA[name][1], "frames": frames.count,
             **{kind: {row.name: getattr(row, kind) for row in errors if row.labels} for kind in ("rmse", "mae")}}
    path = MODELS / f"{name}.pth"
    save_model(path, model._replace(card=replace(model.card, training=model.card.training | {"bundled": about})))
    card_tables.put(name, "errors", table(name, path.stat().st_size, frames.count, errors))
    print(f"wrote {path}\n{table(name, path.stat().st_size, frames.count, errors)}", end="")


if __name__ == "__main__":
    main()
