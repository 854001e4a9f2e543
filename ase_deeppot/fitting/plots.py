"""Pictures of a training run, drawn with matplotlib where it is installed."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ase_deeppot.errors import DeepPotError
from ase_deeppot.files import write_atomically
from ase_deeppot.fitting.learning_curve import Row
from ase_deeppot.fitting.metrics import Accuracy, Parity, accuracy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


CROWD = 5000  # points, from which on they are drawn smaller


class PlotError(DeepPotError, RuntimeError):
    """matplotlib is not installed, or cannot write the kind of picture asked for."""


def figure(width: float, height: float) -> "Figure":
    """An empty figure that needs no display and no global state.

    Raises
    ------
    PlotError
        Without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PlotError("plots need matplotlib: pip install 'ase-deeppot[plots]'") from error
    return Figure(figsize=(width, height), layout="constrained", dpi=120)


def save(drawing: "Figure", path: Path) -> None:
    """Write a figure, whole or not at all, as PNG where the name has no suffix.

    Raises
    ------
    PlotError
        If the suffix is no kind of picture.
    OSError
        If the file cannot be written.
    """
    try:
        content = picture(drawing, path.suffix[1:] or "png")
    except ValueError as error:
        raise PlotError(f"{path}: expected a kind of picture that matplotlib writes, as .png or .pdf, got "
                        f"'{path.suffix}'") from error
    write_atomically(path, content)


def picture(drawing: "Figure", kind: str = "png") -> bytes:
    """Content of a picture's file."""
    buffer = io.BytesIO()
    drawing.savefig(buffer, format=kind)
    return buffer.getvalue()


def plot_parity(columns: Sequence[Parity], path: Path) -> None:
    """Predictions against labels, a panel for each property that has labels."""
    save(draw_parity(columns), path)


def draw_parity(columns: Sequence[Parity]) -> "Figure":
    """As :func:`plot_parity`, not written."""
    present = [parity for parity in columns if len(parity.label)]
    drawing = figure(4.2 * len(present), 4.2)
    for axes, parity in zip(drawing.subplots(1, len(present), squeeze=False)[0], present, strict=True):
        parity_panel(axes, parity, accuracy(parity))
    return drawing


def parity_panel(axes: "Axes", parity: Parity, errors: Accuracy) -> None:
    """Predictions against labels, with errors that may be of more labels."""
    both = np.concatenate([parity.label, parity.prediction])
    margin = 0.04 * (np.ptp(both) or 1.0)
    few = len(parity.label) < CROWD
    axes.ticklabel_format(useOffset=False)
    axes.locator_params(nbins=4)
    limits = (both.min() - margin, both.max() + margin)
    axes.plot(limits, limits, color="0.6", lw=1, zorder=0)
    axes.plot(parity.label, parity.prediction, ".", ms=3 if few else 1.5, alpha=0.4 if few else 0.15, color="C0",
              rasterized=True)
    axes.set(xlim=limits, ylim=limits, aspect="equal", xlabel=f"label, {parity.unit}",
             ylabel=f"prediction, {parity.unit}")
    # Not as a title: with a fixed aspect in a subfigure, the layout cuts titles off.
    axes.text(0.04, 0.96, f"{parity.name}\nRMSE {1e3 * errors.rmse:.3g} m{parity.unit}\n"
                          f"MAE {1e3 * errors.mae:.3g} m{parity.unit}", transform=axes.transAxes, va="top")


def plot_learning_curve(rows: Sequence[Row], path: Path) -> None:
    """Errors of energy and forces, in training and validation, against the step."""
    save(draw_learning_curve(rows), path)


def draw_learning_curve(rows: Sequence[Row]) -> "Figure":
    """As :func:`plot_learning_curve`, not written."""
    drawing = figure(8.4, 3.6)
    from matplotlib.ticker import LogLocator  # figure has made sure that there is matplotlib

    panels = (("e", "energy, meV/atom"), ("f", "forces, meV/A"))
    for axes, (name, label) in zip(drawing.subplots(1, 2), panels, strict=True):
        for part, style in (("train", "C0-"), ("val", "C3-")):
            errors = [1e3 * getattr(row, f"rmse_{name}_{part}") for row in rows]
            axes.plot([row.step for row in rows], errors, style, label={"val": "validation"}.get(part, "training"))
        axes.set(xlabel="step", ylabel=f"RMSE of {label}", yscale="log")
        axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        for formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            formatter("{x:g}")
        axes.tick_params(axis="y", which="minor", labelsize="x-small")
        axes.grid(alpha=0.3, which="both")
        axes.legend(frameon=False)
    return drawing
