"""The report of a finished run: one HTML file with curves, errors, the worst frames, warnings and settings."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ase_deeppot.files import write_atomically
from ase_deeppot.fitting.breakdown import Entry, breakdown, force_error_of_frames
from ase_deeppot.fitting.config import FittingConfig
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.error_plots import draw_errors
from ase_deeppot.fitting.frames import Frames
from ase_deeppot.fitting.learning_curve import Row
from ase_deeppot.fitting.metrics import Predictions, parities, predict
from ase_deeppot.fitting.page import cards, figure_with, folded, image, items, note, page, plain, section, table
from ase_deeppot.fitting.plots import PlotError, draw_learning_curve, figure
from ase_deeppot.fitting.points import drawn
from ase_deeppot.fitting.predicted import atoms_of, formula_of
from ase_deeppot.fitting.preparation import Prepared
from ase_deeppot.fitting.statistics import sample
from ase_deeppot.fitting.structure_pictures import draw_structure
from ase_deeppot.potential.archive import Model
from ase_deeppot.schema import as_toml

FILE = "report.html"
LARGEST_SAMPLE = {"training": 200, "validation": 2000}  # frames whose errors are shown, evenly spread
WORST = 6  # frames shown
PICTURED_ATOMS = 1000  # in the largest structure that is drawn


class Shown(NamedTuple):
    """Frames that the report is about, with predictions."""

    part: str  # 'validation' or 'training'
    frames: Frames
    predictions: Predictions
    entries: list[Entry]


def write(folder: Path, rows: list[Row], prepared: Prepared, model: Model, say: Callable[[str], None]) -> None:
    """Write ``report.html``; a failure is told, and costs nothing else."""
    path = folder / FILE
    try:
        write_atomically(path, render(rows, prepared, model).encode())
        say(f"wrote {path}")
    except OSError as error:
        say(f"warning: could not write {path} ({error.strerror})")


def render(rows: list[Row], prepared: Prepared, model: Model) -> str:
    """The page as text; without matplotlib it has no pictures, and says so."""
    trained = _shown("training", prepared.train, model)
    parts = [trained] if prepared.validation is None else [_shown("validation", prepared.validation, model), trained]
    title = f"Deep Potential for {', '.join(model.card.elements)}"
    subtitle = (f"{prepared.config.output}: {', '.join(prepared.train.frames.names)}; ase-deeppot "
                f"{model.card.package_version}")
    return page(title, subtitle, _parts(rows, prepared, model, parts))


def _shown(part: str, dataset: Dataset, model: Model) -> Shown:
    chosen = sample(dataset, LARGEST_SAMPLE[part])
    frames, predictions = dataset.frames.select(chosen), predict([model], dataset, chosen)
    return Shown(part, frames, predictions, breakdown(frames, predictions, model.card.elements))


def _parts(rows: list[Row], prepared: Prepared, model: Model, shown: list[Shown]) -> Iterator[str]:
    first, pictures = shown[0], _pictures()
    yield cards(_numbers(prepared, model, shown))
    if prepared.warnings:
        yield section(f"Warnings about the data ({len(prepared.warnings)})", items(prepared.warnings), kind="warnings")
    if not pictures:
        yield note("No pictures: matplotlib is not installed.")
    if pictures and rows:
        yield section("Learning curve", image(draw_learning_curve(rows), "errors against the step"), note(_kept(model)))
    yield section("Errors", _accuracies(shown), _sources(first))
    if pictures and any(entry.errors.labels for entry in first.entries):
        drawing = draw_errors([drawn(parity) for parity in parities(first.frames, first.predictions)], first.entries)
        yield section(f"Where the errors are, {first.part} frames", image(drawing, "parity and error distributions"))
    yield from _worst(first, pictures)
    yield section("Data", plain("\n".join(prepared.overview)))
    yield section("Settings", folded("All options of this run", plain(as_toml(FittingConfig, prepared.config))))
    yield section("Use it", plain(_usage(Path(prepared.config.output))))


def _pictures() -> bool:
    try:
        figure(1.0, 1.0)
    except PlotError:
        return False
    return True


def _numbers(prepared: Prepared, model: Model, shown: list[Shown]) -> list[tuple[str, str]]:
    names = {"energy": "energy RMSE", "forces": "force RMSE", "stress": "stress RMSE"}
    errors = [(f"{1e3 * row.rmse:.3g} m{row.unit.replace('^3', '³').replace('A', 'Å')}",
               f"{names[row.name]}, {shown[0].part}")
              for group, _, row in shown[0].entries if group == "all" and row.labels]
    training = model.card.training
    held_out = len(prepared.validation) if prepared.validation else 0
    weights = sum(parameter.numel() for parameter in model.module.parameters())
    steps = [(f"{training['steps']:,}", f"steps, of {training['steps_done']:,} done")] * (training["steps_done"] > 0)
    return [*errors, *steps, (_duration(training["seconds"]), "of training"),
            (f"{len(prepared.train):,} + {held_out:,}", "training and validation frames"),
            (f"{weights:,}", "weights")]


def _kept(model: Model) -> str:
    training = model.card.training
    if training["steps"] == training["steps_done"]:
        return f"The model is that of the last step, {training['steps']:,}."
    return (f"The model is the best by validation loss, of step {training['steps']:,}; last.pth is that of the last "
            f"step, {training['steps_done']:,}.")


def _accuracies(shown: list[Shown]) -> str:
    rows = [(f"{row.name}, {part.part}", f"{1e3 * row.rmse:.4g}", f"{1e3 * row.mae:.4g}", f"{1e3 * row.largest:.4g}",
             f"m{row.unit}", f"{row.labels:,}")
            for part in shown for group, _, row in part.entries if group == "all" and row.labels]
    sampled = [f"{part.part.capitalize()} errors are those of {part.frames.count} frames."
               for part in shown if part.frames.count == LARGEST_SAMPLE[part.part]]
    remark = note(" ".join(sampled)) if sampled else ""
    return table(("", "RMSE", "MAE", "largest", "unit", "labels"), rows) + remark


def _sources(shown: Shown) -> str:
    if len(set(shown.frames.source)) < 2:
        return ""
    rows = [(f"{entry.member}: {entry.errors.name}", f"{1e3 * entry.errors.rmse:.4g}", f"{1e3 * entry.errors.mae:.4g}",
             f"{1e3 * entry.errors.largest:.4g}", f"m{entry.errors.unit}", f"{entry.errors.labels:,}")
            for entry in shown.entries if entry.group == "source" and entry.errors.labels]
    return table((f"by source, {shown.part}", "RMSE", "MAE", "largest", "unit", "labels"), rows)


def _worst(shown: Shown, pictures: bool) -> Iterator[str]:
    """Frames with the largest force errors; the atoms to blame are seen in their pictures."""
    errors = force_error_of_frames(shown.frames, shown.predictions)
    order = [int(k) for k in np.argsort(-np.nan_to_num(errors, nan=-1.0), kind="stable")[:WORST]
             if np.isfinite(errors[k])]
    if not order:
        return
    captions = [_caption(shown, k, errors[k]) for k in order]
    title = f"Worst {shown.part} frames, by force error"
    if not pictures:
        yield section(title, items(captions))
        return
    figures = [_pictured(shown, k, caption) for k, caption in zip(order, captions, strict=True)]
    yield section(title, f"<div class=\"worst\">{''.join(figures)}</div>")


def _pictured(shown: Shown, k: int, caption: str) -> str:
    rows = slice(shown.frames.offsets[k], shown.frames.offsets[k + 1])
    if rows.stop - rows.start > PICTURED_ATOMS:
        return note(caption)
    force_error = np.linalg.norm(shown.predictions.forces[rows] - shown.frames.forces[rows], axis=1)
    drawing = draw_structure(atoms_of(shown.frames, shown.predictions, k), np.nan_to_num(force_error))
    return figure_with(drawing, caption)


def _caption(shown: Shown, k: int, error: float) -> str:
    frames, predictions = shown.frames, shown.predictions
    size = frames.offsets[k + 1] - frames.offsets[k]
    formula = formula_of(frames.numbers[frames.offsets[k] : frames.offsets[k + 1]])
    energy = 1e3 * (predictions.energies[k] - frames.energies[k]) / size
    return (f"{frames.label(k)}, {formula}: forces {1e3 * error:.4g} meV/A"
            + (f", energy {energy:+.3g} meV/atom" if np.isfinite(energy) else ""))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def _usage(folder: Path) -> str:
    return (f"from ase_deeppot import DeepPotCalculator\natoms.calc = DeepPotCalculator(\"{folder / 'model.pth'}\")\n\n"
            f"deeppot evaluate {folder / 'model.pth'} DATA --plot errors.png\ndeeppot info {folder / 'model.pth'}")
