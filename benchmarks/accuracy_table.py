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
TAUGHT = "taught by"  # so many models of the same data
SAME = 0.1  # times that differ by less are the same


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
    members: int = 1  # models, of seeds from `seed` on, whose mean this is

    @property
    def key(self) -> tuple[str, str, int, int, str, int]:
        """What tells runs apart."""
        return self.data, self.program, self.seed, self.steps, self.model, self.members


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
    """Errors by data set beside the targets; beside DeePMD-kit's in the same time; then what each run was."""
    targets = tomllib.loads((INPUTS / "targets.toml").read_text())
    means, taught = [row for row in rows if row.members > 1], [row for row in rows if TAUGHT in row.model]
    rows = [row for row in rows if row.members == 1 and TAUGHT not in row.model]
    unhurried = [row for row in rows if not _hurried(row, rows)]
    longest = {name: _longest(unhurried, name, OURS) for name in targets}
    pairs = {name: pair for name in targets if (pair := _in_same_time(rows, name))}
    lines = ["| data | error on the test file | here | mean of several models | a model taught by these | to reach | | "
             "published |", "|---|---|---|---|---|---|---|---|"]
    for name, target in targets.items():
        lines += _beside_target(name, target, longest[name], _of_the_most(means, longest[name]),
                                _longest(taught, name, OURS))
    lines += ["", "| data | error on the test file | here | DeePMD-kit, same time | ratio | minutes a run, threads |",
              "|---|---|---|---|---|---|"]
    for name, pair in pairs.items():
        lines += _beside_theirs(name, targets[name], *pair)
    lines += ["", "| data | program | frames | model | steps | ms a step, threads | minutes | seeds |",
              "|---|---|---|---|---|---|---|---|"]
    for name in targets:
        shown = [longest[name], _longest(taught, name, OURS), *pairs.get(name, ())]
        lines += list(dict.fromkeys(line for runs in shown for line in _run_of(runs)))
    return "\n".join(lines) + "\n"


def _longest(rows: Iterable[Row], name: str, program: str) -> list[Row]:
    """Runs of the largest number of steps, one a seed: with species by bonds and polynomials if there are such."""
    runs = [row for row in rows if (row.data, row.program) == (name, program)]
    most = max(map(_length, runs), default=(False, False, 0))
    return [row for row in runs if _length(row) == most]


def _length(row: Row) -> tuple[bool, bool, int]:
    return "bonds" in row.model, "monomials" in row.model, row.steps


def _of_the_most(means: Sequence[Row], runs: Sequence[Row]) -> list[Row]:
    """The mean of the largest number of models of such runs, if there is one."""
    same = [row for row in means if runs and (row.data, row.steps, row.model) == (runs[0].data, runs[0].steps,
                                                                                 runs[0].model)]
    return sorted(same, key=lambda row: row.members)[-1:]


def _hurried(row: Row, rows: Sequence[Row]) -> bool:
    """Whether it took the time of DeePMD-kit's only, and there is a run of its set that took its own."""
    return _time(row) is not None and any(
        (other.data, other.program) == (row.data, row.program) and _time(other) is None for other in rows)


def _in_same_time(rows: Sequence[Row], name: str) -> tuple[list[Row], list[Row]] | None:
    """Our runs and DeePMD-kit's of a set that took the same time, one a seed; DeePMD-kit's longest."""
    theirs = _longest(rows, name, THEIRS)
    time = _time(theirs[0]) if theirs else None
    if time is None:
        return None
    runs = [row for row in rows if (row.data, row.program, row.threads) == (name, OURS, theirs[0].threads)]
    near = [row for row in runs if (own := _time(row)) is not None and abs(own / time - 1) < SAME]
    ours = [row for row in near if row.steps == near[0].steps]
    return (ours, theirs) if ours else None


def _time(row: Row) -> float | None:
    """Minutes of training: by the time of a step, else by the clock."""
    return row.minutes if row.ms_step is None else row.steps * row.ms_step / 6e4


def _beside_target(name: str, target: dict, ours: Sequence[Row], mean: Sequence[Row],
                   taught: Sequence[Row]) -> list[str]:
    lines = []
    for place, quantity in enumerate(PROPERTIES):
        label, (found, together, learnt) = _errors(name, target, quantity, ours, mean, taught)
        if quantity == "stress" and found is None:
            continue
        goal = target.get(quantity)
        published = [f"{who} {values[place]:g}" for who, values in target.get("published", {}).items() if place < 2]
        of_several = "" if together is None else f"{_number(together)} ({mean[0].members})"
        verdict = _verdict(found, goal)
        if verdict == "missed":
            others = {"the mean": together, "the one taught": learnt}
            by = " and ".join(who for who, value in others.items() if _verdict(value, goal) == "reached")
            verdict += f", by {by} reached" if by else ""
        lines.append(f"{label} | {_number(found)} | {of_several} | {_number(learnt)} | {_number(goal)} | {verdict} | "
                     f"{'; '.join(published)} |")
    return lines


def _beside_theirs(name: str, target: dict, ours: Sequence[Row], theirs: Sequence[Row]) -> list[str]:
    lines = []
    for quantity in PROPERTIES:
        label, (found, other) = _errors(name, target, quantity, ours, theirs)
        if found is not None and other is not None:
            wanted = target.get("half_of_deepmd") and quantity != "stress"
            verdict = f"; to reach 0.5, {_verdict(found, other / 2)}" if wanted else ""
            time = f"{_time(ours[0]):.0f}, {ours[0].threads}"
            lines.append(f"{label} | {_number(found)} | {_number(other)} | {found / other:.2f}{verdict} | {time} |")
    return lines


def _errors(name: str, target: dict, quantity: str, *of: Sequence[Row]) -> tuple[str, list[float | None]]:
    """The first cells of a line of the table, and the medians of each group of runs."""
    atoms = target.get("molecule", 1) if quantity == "energy" else 1
    unit = "meV/molecule" if quantity == "energy" and atoms > 1 else PROPERTIES[quantity]
    found = [_middle(runs, f"{quantity}_{target['error']}") for runs in of]
    label = f"| {name} | {quantity} {target['error'].upper()}, {unit}"
    return label, [value if value is None else atoms * value for value in found]


def _run_of(runs: Sequence[Row]) -> list[str]:
    if not runs:
        return []
    row = runs[0]
    minutes = _middle(runs, "minutes")
    if minutes is not None:
        time = f"{minutes:.0f}"
    else:
        time = f"{_time(row):.0f} by the step" if row.ms_step else "shared machine"
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
