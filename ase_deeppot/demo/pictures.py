"""Pictures of the water dynamics."""

from pathlib import Path

from ase_deeppot.demo.rdf import Rdf
from ase_deeppot.demo.water import Drift, Record
from ase_deeppot.fitting.plots import figure, save

TOP = {"OO": 3.6, "OH": 2.2, "HH": 3.6}  # of the axes; the peak of the O-H bond goes far beyond


def plot_rdf(model: Rdf, reference: Rdf, path: Path) -> None:
    """Three panels: the model's curves over those of the DFT frames."""
    drawing = figure(10.5, 3.6)
    for axes, (pair, top) in zip(drawing.subplots(1, 3), TOP.items(), strict=True):
        name = "-".join(pair)
        axes.fill_between(reference.r, reference.g[pair], color="0.85", label="DFT (PBE0+TS) frames")
        axes.plot(model.r, model.g[pair], color="C3", lw=1.4, label="bundled model, 300 K")
        axes.axhline(1.0, color="0.5", lw=0.6, zorder=0)
        axes.set(xlim=(0.6, 6.2), ylim=(0.0, top), xlabel=f"{name} distance, Å", ylabel=f"g({name})", title=name)
    axes.legend(frameon=False, loc="upper right")
    drawing.suptitle("Radial distribution functions of liquid water")
    save(drawing, path)


def plot_nve(record: Record, drift: Drift, path: Path) -> None:
    """Total energy and temperature against time."""
    drawing = figure(7.0, 5.0)
    top, bottom = drawing.subplots(2, 1, sharex=True)
    change = 1e3 * (record.energy - record.energy[0])
    top.plot(record.time, change, color="C0", lw=1.0)
    top.set(ylabel="total energy - start, meV/atom",
            title=f"NVE: drift {1e3 * drift.slope:+.3f} meV/atom/ps, rms fluctuation {1e3 * drift.spread:.3f} meV/atom")
    top.ticklabel_format(useOffset=False)
    bottom.plot(record.time, record.temperature, color="C3", lw=1.0)
    bottom.set(xlabel="time, ps", ylabel="temperature, K", xlim=(0.0, float(record.time[-1])))
    for axes in (top, bottom):
        axes.grid(alpha=0.3)
    save(drawing, path)
