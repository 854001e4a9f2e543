"""Where the errors of a model are: by source, by species, by the size of the force."""

import csv
import io
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ase_deeppot.fitting.error_sums import (
    LABELS,
    PROPERTIES,
    accuracies,
    accuracy_of,
    add_to,
    atom_errors,
    frame_errors,
)
from ase_deeppot.fitting.frames import Frames
from ase_deeppot.fitting.metrics import Accuracy, Predictions
from ase_deeppot.structures import types_of

FORCE_EDGES = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, np.inf)  # eV/A, of the label on an atom
SIZES = (f"below {FORCE_EDGES[1]:g} eV/A", *(f"{low:g} to {high:g} eV/A" for low, high in pairwise(FORCE_EDGES[1:-1])),
         f"above {FORCE_EDGES[-2]:g} eV/A")


class Entry(NamedTuple):
    """Errors of one property in one part of the data."""

    group: str  # 'all', 'source', 'species' or 'force'
    member: str  # which source, species or range
    errors: Accuracy


class Breakdown:
    """Errors of frames that come some at a time, and of their parts.

    Parameters
    ----------
    names : tuple of str
        The sources of all frames.
    elements : tuple of str
        Those of the model.
    """

    def __init__(self, names: tuple[str, ...], elements: tuple[str, ...]) -> None:
        self._names, self._elements = names, elements
        self._frames = np.zeros(len(names), dtype=np.int64)  # of each source
        self._of_sources = np.zeros((len(names), len(PROPERTIES), 4))
        self._of_elements = np.zeros((len(elements), 4))  # of the forces
        self._of_sizes = np.zeros((len(FORCE_EDGES) - 1, 4))

    def add(self, frames: Frames, predicted: Predictions) -> None:
        """Count some more frames."""
        self._frames += np.bincount(frames.source, minlength=len(self._names))
        add_to(self._of_sources, frames.source, frame_errors(frames, predicted)[:, : len(PROPERTIES)])
        of_atoms = atom_errors(frames, predicted)
        add_to(self._of_elements, types_of(frames.numbers, self._elements), of_atoms)
        add_to(self._of_sizes, np.digitize(np.linalg.norm(frames.forces, axis=1), FORCE_EDGES[1:-1]), of_atoms)

    def entries(self) -> list[Entry]:
        """Errors of all frames so far, and of their parts that have labels."""
        found = [Entry("all", "", row) for row in accuracies(self._of_sources)]
        for index, name in enumerate(self._names):
            if self._frames[index]:
                found += [Entry("source", name, row) for row in accuracies(self._of_sources[index : index + 1])]
        for group, members, sums in (("species", self._elements, self._of_elements),
                                     ("force", SIZES, self._of_sizes)):
            found += [Entry(group, member, accuracy_of(*PROPERTIES[1], of_member[None]))
                      for member, of_member in zip(members, sums, strict=True) if of_member[LABELS]]
        return found


def breakdown(frames: Frames, predictions: Predictions, elements: tuple[str, ...]) -> list[Entry]:
    """Errors of all frames, and of their parts that have labels."""
    parts = Breakdown(frames.names, elements)
    parts.add(frames, predictions)
    return parts.entries()


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


def _short(name: str) -> str:
    return name if len(name) <= 40 else "..." + name[-37:]


def _milli(value: float) -> str:
    return f"{1e3 * value:.4g}" if value == value else "-"
