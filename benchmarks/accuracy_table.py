"""What `accuracy.py` measured: rows of a CSV, and the table of them beside what was to be reached."""

import csv
import io
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from ase_deeppot.files import write_atomically

INPUTS = Path(__file__).resolve().parent / "accuracy"
PROPERTIES = {"energy": "meV/atom", "forces": "meV/Å", "stress": "meV/Å³"}
OURS, THEIRS = "ase_deeppot", "DeePMD-kit"


class Row(NamedTuple):
    """A trained model's errors on the test frames, meV and A; empty where there are no labels, or no time is known."""

    data: str
    program: str
    seed: int
    steps: int
    minutes: float | None  # of training, by the clock; None where the machine was shared
    ms_step: float | None  # of a step on a quiet machine
    threads: int
    frames: int  # trained on
    model: str
    energy_rmse: float | None
    energy_mae: float | None
    forces_rmse: float | None
    forces_mae: float | None
    stress_rmse: float | None
    stress_mae: float | None

    @property
    def key(self) -> tuple[str, str, int, int, str]:
        """What tells runs apart."""
        return self.data, self.program, self.seed, self.steps, self.model


def read(path: Path) -> list[Row]:
    """Rows of a table; none if it is not there."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [Row(**{name: _value(name, cell) for name, cell in line.items()}) for line in csv.DictReader(file)]


def add(path: Path, row: Row) -> None:
    """Add a row to the table, or put it in place of an earlier one of the same run."""
    rows = sorted([*(other for other in read(path) if other.key != row.key), row], key=lambda row: row.key)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(Row._fields)
    writer.writerows([f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row] for row in rows)
    write_atomically(path, buffer.getvalue().encode())


def markdown(rows: Sequence[Row]) -> str:
    """Errors by data set beside the targets, then what each run was."""
    targets = tomllib.loads((INPUTS / "targets.toml").read_text())
    lines = ["| data | error on the test file | ours | to reach | | DeePMD-kit, same time | published |",
             "|---|---|---|---|---|---|---|"]
    for name, target in targets.items():
        ours, theirs = (_latest(rows, name, program) for program in (OURS, THEIRS))
        lines += _rows_of(name, target, ours, theirs)
    lines += ["", "| data | program | frames | model | steps | ms a step, threads | minutes | seeds |",
              "|---|---|---|---|---|---|---|---|"]
    for name in targets:
        for program in (OURS, THEIRS):
            lines += _run_of(_latest(rows, name, program))
    return "\n".join(lines) + "\n"


def _latest(rows: Iterable[Row], name: str, program: str) -> list[Row]:
    """Runs of the largest number of steps, one a seed."""
    runs = [row for row in rows if (row.data, row.program) == (name, program)]
    most = max((row.steps for row in runs), default=0)
    return [row for row in runs if row.steps == most]


def _rows_of(name: str, target: dict, ours: Sequence[Row], theirs: Sequence[Row]) -> list[str]:
    lines = []
    for place, quantity in enumerate(PROPERTIES):
        column = f"{quantity}_{target['error']}"
        found, other = (_middle(runs, column) for runs in (ours, theirs))
        if quantity == "stress" and found is None:
            continue
        atoms = target.get("molecule", 1) if quantity == "energy" else 1
        found, other = (value if value is None else atoms * value for value in (found, other))
        goal = target.get(quantity)
        if target.get("half_of_deepmd") and quantity != "stress":
            goal = None if other is None else other / 2
        unit = "meV/molecule" if quantity == "energy" and atoms > 1 else PROPERTIES[quantity]
        published = [f"{who} {values[place]:g}" for who, values in target.get("published", {}).items() if place < 2]
        lines.append(f"| {name} | {quantity} {target['error'].upper()}, {unit} | {_number(found)} | {_number(goal)} | "
                     f"{_verdict(found, goal)} | {_number(other)} | {'; '.join(published)} |")
    return lines


def _run_of(runs: Sequence[Row]) -> list[str]:
    if not runs:
        return []
    row = runs[0]
    minutes = _middle(runs, "minutes")
    if minutes is not None:
        time = f"{minutes:.0f}"
    else:
        time = f"{row.steps * row.ms_step / 6e4:.0f} by the step" if row.ms_step else "shared machine"
    step = f"{row.ms_step:.1f}, {row.threads}" if row.ms_step else "-"
    seeds = ", ".join(str(run.seed) for run in runs)
    return [f"| {row.data} | {row.program} | {row.frames} | {row.model} | {row.steps:,} | {step} | {time} | {seeds} |"]


def _verdict(found: float | None, goal: float | None) -> str:
    if found is None or goal is None:
        return "" if found is not None else "not run"
    return "reached" if found <= goal else "missed"


def _middle(runs: Sequence[Row], column: str) -> float | None:
    values = [value for value in (getattr(run, column) for run in runs) if value is not None]
    return median(values) if values else None


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:#.3g}".rstrip(".")


def _value(name: str, cell: str) -> str | int | float | None:
    kind = Row.__annotations__[name]
    if cell == "" and kind not in (int, str):
        return None
    return kind(cell) if kind in (int, str) else float(cell)
