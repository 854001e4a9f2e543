"""The learning curve: one line of errors at a time, in a CSV file and on the terminal."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from ase_deeppot.files import write_atomically
from ase_deeppot.fitting.loss import Errors
from ase_deeppot.fitting.metrics import Accuracy
from ase_deeppot.fitting.validation import Validation

FILE = "lcurve.csv"
SOURCES_FILE = "lcurve_sources.csv"


class Row(NamedTuple):
    """RMSEs over the training steps since the line before, and over the validation frames; NaN without labels."""

    step: float
    rmse_e_val: float  # eV/atom
    rmse_e_train: float
    rmse_f_val: float  # eV/A
    rmse_f_train: float
    rmse_s_val: float  # stress, eV/A^3
    rmse_v_train: float  # virial, eV/atom
    loss_val: float  # validation.final_loss, by which models are compared
    lr: float
    seconds: float


class SourceRow(NamedTuple):
    """RMSEs over the validation frames of one source; NaN without labels."""

    step: float
    source: str
    rmse_e: float  # eV/atom
    rmse_f: float  # eV/A
    rmse_s: float  # eV/A^3


def sums_of(errors: Errors) -> torch.Tensor:
    """A step's sums of squares and counts, [6] float64."""
    sums = torch.stack([errors.energy, errors.force, errors.virial])
    return torch.cat([sums, errors.counts.to(sums.dtype)])


def row(step: int, running: torch.Tensor, validation: Validation | None, lr: float, seconds: float) -> Row:
    """The line that the running sums and the validation errors make."""
    energy, force, virial = (running[:3] / running[3:]).sqrt().tolist()
    energy_val, force_val, stress_val = _rmses(validation.accuracy) if validation else 3 * (math.nan,)
    loss = validation.loss if validation else math.nan
    return Row(step, energy_val, energy, force_val, force, stress_val, virial, loss, lr, seconds)


def source_rows(step: int, validation: Validation | None) -> list[SourceRow]:
    """Lines by source, where there are several."""
    if validation is None or len(validation.by_source) < 2:
        return []
    return [SourceRow(step, name, *_rmses(errors)) for name, errors in validation.by_source.items()]


def _rmses(accuracies: Sequence[Accuracy]) -> tuple[float, float, float]:
    energy, force, stress = (accuracy.rmse for accuracy in accuracies)
    return energy, force, stress


def write(folder: Path, rows: Sequence[Row], by_source: Sequence[SourceRow] = ()) -> None:
    """Write the whole curve as CSV, and that by source beside it; empty cells where there are no labels."""
    write_atomically(folder / FILE, _csv(Row._fields, rows))
    if by_source:
        write_atomically(folder / SOURCES_FILE, _csv(SourceRow._fields, by_source))


def _csv(header: Sequence[str], rows: Sequence[Sequence[float | str]]) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_cell(value) for value in values] for values in rows)
    return buffer.getvalue().encode()


def _cell(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return "" if math.isnan(value) else f"{value:.8g}"


def read(path: Path) -> list[Row]:
    """Read a curve that :func:`write` wrote."""
    lines = path.read_text().splitlines()[1:]
    return [Row(*(float(cell or "nan") for cell in line.split(","))) for line in lines]


HEADER = f"""{"":8}   {"energy, meV/atom":^20}   {"forces, meV/A":>17}
{"step":>8}   {"validation":>10} {"training":>9}   {"validation":>10} {"training":>9}   {"lr":>7}"""


def line(values: Row) -> str:
    """A row for the terminal, below :data:`HEADER`."""
    energy, force = (f"{_milli(validation):>10} {_milli(training):>9}" for validation, training in
                     ((values.rmse_e_val, values.rmse_e_train), (values.rmse_f_val, values.rmse_f_train)))
    return f"{values.step:8.0f}   {energy}   {force}   {values.lr:.1e}"


def _milli(value: float) -> str:
    return f"{1e3 * value:#.4g}" if value == value else "-"
