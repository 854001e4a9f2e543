"""Pictures of where a model's errors are."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ase_deeppot.fitting.breakdown import Entry
from ase_deeppot.fitting.metrics import Parity
from ase_deeppot.fitting.plots import figure, parity_panel
from ase_deeppot.fitting.points import Drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS = 60
NO_MEAN = 1e-6  # of the largest error
SHOWN = 99.5  # percent of the errors that are within the axis; the others are counted at its ends


def draw_errors(columns: Sequence[Drawn], entries: Sequence[Entry]) -> "Figure":
    """Parity and distribution of the errors of each property that has labels, and the parts of the force error."""
    present = [column for column in columns if column.errors.labels]
    groups = [group for group in ("species", "force") if any(entry.group == group for entry in entries)]
    drawing = figure(4.2 * max(len(present), len(groups)), 7.4 + 2.6 * bool(groups))
    heights = [4.2, 3.2, 2.6][: 3 if groups else 2]
    rows: Any = drawing.subfigures(len(heights), 1, height_ratios=heights)
    for above, below, column in zip(rows[0].subplots(1, len(present), squeeze=False)[0],
                                    rows[1].subplots(1, len(present), squeeze=False)[0], present, strict=True):
        parity_panel(above, _with_worst(column), column.errors)
        _distribution(below, column)
    if groups:
        for axes, group in zip(rows[2].subplots(1, len(groups), squeeze=False)[0], groups, strict=True):
            _parts(axes, [entry for entry in entries if entry.group == group], group)
    return drawing


def _with_worst(column: Drawn) -> Parity:
    sample, worst = column.sample, column.worst
    return sample._replace(label=np.concatenate([sample.label, worst.label]),
                           prediction=np.concatenate([sample.prediction, worst.prediction]))


def _distribution(axes: "Axes", column: Drawn) -> None:
    """Histogram of the errors, on a logarithmic scale that shows the tails."""
    parity = column.sample
    error = 1e3 * (parity.prediction - parity.label)
    reach = float(np.percentile(np.abs(error), SHOWN)) or 1.0
    axes.hist(np.clip(error, -reach, reach), bins=min(BINS, max(5, len(error) // 3)), color="C0", alpha=0.8)
    axes.axvline(0, color="0.3", lw=0.8)
    part = f" of {len(error):,} drawn at random" if len(error) < column.errors.labels else ""
    axes.set(xlabel=f"error of {parity.name}, m{parity.unit}", ylabel="number" + part, yscale="log")
    mean, largest = float(error.mean()), 1e3 * column.errors.largest
    shown = f"{mean:+.2g}" if abs(mean) > NO_MEAN * largest else "0"  # forces add up to nothing, but for rounding
    axes.set_title(f"mean {shown}, largest {largest:.3g} m{parity.unit}", fontsize="small")


def _parts(axes: "Axes", entries: Sequence[Entry], group: str) -> None:
    """RMSE and MAE of the forces in each part, as bars."""
    names = [_brief(entry.member) for entry in entries]
    places = np.arange(len(entries))
    for shift, kind, color in ((-0.2, "rmse", "C0"), (0.2, "mae", "C2")):
        bars = axes.bar(places + shift, [1e3 * getattr(entry.errors, kind) for entry in entries], 0.4,
                        label=kind.upper(), color=color, alpha=0.85)
        axes.bar_label(bars, fmt=_number, fontsize="x-small")
    axes.set_xticks(places, names, fontsize="small")
    axes.set(xlabel={"species": "species", "force": "size of the labelled force, eV/A"}[group],
             ylabel="error of forces, meV/A")
    axes.margins(y=0.15)
    axes.legend(frameon=False, fontsize="small")


def _brief(member: str) -> str:
    """``'below 0.1 eV/A'`` as an axis has room for it."""
    return member.replace(" eV/A", "").replace("below ", "< ").replace("above ", "> ").replace(" to ", "-")


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
