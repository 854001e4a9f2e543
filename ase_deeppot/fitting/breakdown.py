"""Where the errors of a model are: by source, by species, by the size of the force."""

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ase_deeppot.fitting.frames import Frames
from ase_deeppot.fitting.metrics import Accuracy, Parity, Predictions, accuracy
from ase_deeppot.fitting.validation import chosen, errors_of
from ase_deeppot.structures import types_of

FORCE_EDGES = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, np.inf)  # eV/A, of the label on an atom


class Entry(NamedTuple):
    """Errors of one property in one part of the data."""

    group: str  # 'all', 'source', 'species' or 'force'
    member: str  # which source, species or range
    errors: Accuracy


def breakdown(frames: Frames, predictions: Predictions, type_map: tuple[str, ...]) -> list[Entry]:
    """Errors of all frames, and of their parts that have labels."""
    entries = [Entry("all", "", row) for row in errors_of(frames, predictions)]
    for index, name in enumerate(frames.names):
        mask = frames.source == index
        if mask.any():
            entries += [Entry("source", name, row) for row in errors_of(*chosen(frames, predictions, mask))]
    entries += _forces_by(frames, predictions, "species", _species_masks(frames, type_map))
    entries += _forces_by(frames, predictions, "force", _size_masks(frames))
    return entries


def format_breakdown(entries: Sequence[Entry]) -> str:
    """Tables for the terminal: sources if there are several, species, sizes of the force."""
    blocks = []
    sources = list(dict.fromkeys(entry.member for entry in entries if entry.group == "source"))
    if len(sources) > 1:
        lines = [f"{'by source: RMSE':<40} {'meV/atom':>10} {'meV/A':>10} {'meV/A^3':>10}"]
        for name in sources:
            errors = [entry.errors for entry in entries if (entry.group, entry.member) == ("source", name)]
            lines.append(f"{_short(name):<40} " + " ".join(f"{_milli(row.rmse):>10}" for row in errors))
        blocks.append("\n".join(lines))
    for group, title in (("species", "forces by species, meV/A"), ("force", "forces by size of the label, meV/A")):
        rows = [entry for entry in entries if entry.group == group]
        if rows:
            lines = [f"{title:<34} {'RMSE':>10} {'MAE':>10} {'largest':>10}   labels"]
            lines += [f"{entry.member:<34} {_milli(entry.errors.rmse):>10} {_milli(entry.errors.mae):>10} "
                      f"{_milli(entry.errors.largest):>10}   {entry.errors.labels}" for entry in rows]
            blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def as_csv(entries: Sequence[Entry]) -> bytes:
    """All entries as CSV, in eV and A."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("group", "member", "property", "unit", "rmse", "mae", "largest", "labels"))
    for group, member, row in entries:
        numbers = [f"{value:.8g}" if row.labels else "" for value in (row.rmse, row.mae, row.largest)]
        writer.writerow((group, member, row.name, row.unit, *numbers, row.labels))
    return buffer.getvalue().encode()


def force_error_of_frames(frames: Frames, predictions: Predictions) -> np.ndarray:
    """RMSE of the force components of each frame, [F]; NaN without labels."""
    square = np.mean((predictions.forces - frames.forces) ** 2, axis=1)
    return np.sqrt(np.add.reduceat(square, frames.offsets[:-1]) / np.diff(frames.offsets))


def _forces_by(frames: Frames, predictions: Predictions, group: str,
               masks: Iterator[tuple[str, np.ndarray]]) -> Iterator[Entry]:
    labelled = np.isfinite(frames.forces).all(1)
    for member, mask in masks:
        use = mask & labelled
        if use.any():
            yield Entry(group, member, accuracy(Parity("forces", "eV/A", frames.forces[use].ravel(),
                                                       predictions.forces[use].ravel())))


def _species_masks(frames: Frames, type_map: tuple[str, ...]) -> Iterator[tuple[str, np.ndarray]]:
    types = types_of(frames.numbers, type_map)
    return ((symbol, types == t) for t, symbol in enumerate(type_map))


def _size_masks(frames: Frames) -> Iterator[tuple[str, np.ndarray]]:
    size = np.linalg.norm(frames.forces, axis=1)
    for low, high in pairwise(FORCE_EDGES):
        name = f"below {high:g} eV/A" if low == 0 else f"above {low:g} eV/A" if np.isinf(high) else \
            f"{low:g} to {high:g} eV/A"
        yield name, (size >= low) & (size < high)


def _short(name: str) -> str:
    return name if len(name) <= 40 else "..." + name[-37:]


def _milli(value: float) -> str:
    return f"{1e3 * value:.4g}" if value == value else "-"
