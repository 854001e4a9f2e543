"""The learning curve: one line of errors at a time, in a CSV file and on the terminal."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from ase_deeppot.files import write_atomically
from ase_deeppot.fitting.loss import Errors
from ase_deeppot.fitting.metrics import Accuracy

FILE = "lcurve.csv"


class Row(NamedTuple):
    """RMSEs over the training steps since the line before, and over the validation frames; NaN without labels."""

    step: float
    rmse_e_val: float  # eV/atom
    rmse_e_train: float
    rmse_f_val: float  # eV/A
    rmse_f_train: float
    rmse_s_val: float  # stress, eV/A^3
    rmse_v_train: float  # virial, eV/atom
    lr: float
    seconds: float


def add(running: torch.Tensor, errors: Errors) -> torch.Tensor:
    """Add a step's sums of squares and counts to the running ones, [6]."""
    sums = torch.stack([errors.energy, errors.force, errors.virial])
    return running + torch.cat([sums, errors.counts.to(sums.dtype)]).cpu()


def row(step: int, running: torch.Tensor, validation: Sequence[Accuracy], lr: float, seconds: float) -> Row:
    """The line that the running sums and the validation errors make."""
    energy, force, virial = (running[:3] / running[3:]).sqrt().tolist()
    energy_val, force_val, stress_val = (accuracy.rmse for accuracy in validation) if validation else 3 * [math.nan]
    return Row(step, energy_val, energy, force_val, force, stress_val, virial, lr, seconds)


def write(folder: Path, rows: Sequence[Sequence[float]]) -> None:
    """Write the whole curve as CSV; empty cells where there are no labels."""
    lines = [",".join(Row._fields)]
    lines += [",".join("" if value != value else f"{value:.8g}" for value in values) for values in rows]
    write_atomically(folder / FILE, ("\n".join(lines) + "\n").encode())


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
