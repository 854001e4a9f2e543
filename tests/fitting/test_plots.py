"""Pictures: valid, of sane size, complete or not there, and refused in a line where they cannot be drawn."""

import errno
import os
import sys

import numpy as np
import pytest

from ase_deeppot import files
from ase_deeppot.fitting.learning_curve import Row
from ase_deeppot.fitting.metrics import Parity
from ase_deeppot.fitting.plots import PlotError, plot_learning_curve, plot_parity

NAN = float("nan")


def columns(*counts):
    rng = np.random.default_rng(0)
    names = (("energy", "eV/atom"), ("forces", "eV/A"), ("stress", "eV/A^3"))
    for (name, unit), count in zip(names, counts, strict=True):
        label = rng.normal(size=count)
        yield Parity(name, unit, label, label + rng.normal(size=count, scale=0.1))


def picture(path):
    from matplotlib.image import imread
    image = imread(path)
    assert image.shape[2] in (3, 4)
    assert 0.01 < (image[:, :, :3].min(axis=2) < 0.9).mean() < 0.5  # ink, but not all over
    return image


@pytest.mark.parametrize(("counts", "panels"), [((30, 200, 9), 3), ((30, 200, 0), 2), ((1, 0, 0), 1)])
def test_a_panel_for_each_property_with_labels(tmp_path, counts, panels):
    plot_parity(list(columns(*counts)), tmp_path / "parity.png")
    height, width, _ = picture(tmp_path / "parity.png").shape
    assert (height, width) == (504, 504 * panels)
    assert [path.name for path in tmp_path.iterdir()] == ["parity.png"]


def test_equal_labels_have_limits(tmp_path):
    plot_parity([Parity("energy", "eV/atom", np.ones(3), np.ones(3))], tmp_path / "parity.png")
    picture(tmp_path / "parity.png")


def test_learning_curve(tmp_path):
    rows = [Row(step, 1 / step, 2 / step, NAN, 3 / step, NAN, NAN, NAN, 1e-3, step) for step in range(1, 10)]
    plot_learning_curve(rows, tmp_path / "curve.png")
    assert picture(tmp_path / "curve.png").shape[:2] == (432, 1008)


def test_other_kinds_of_picture(tmp_path):
    plot_parity(list(columns(3, 3, 0)), tmp_path / "parity.pdf")
    assert (tmp_path / "parity.pdf").read_bytes().startswith(b"%PDF")
    plot_parity(list(columns(3, 3, 0)), tmp_path / "parity")
    assert (tmp_path / "parity").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(PlotError) as caught:
        plot_parity(list(columns(3, 3, 0)), tmp_path / "parity.xyz")
    assert str(caught.value) == (f"{tmp_path}/parity.xyz: expected a kind of picture that matplotlib writes, as "
                                 ".png or .pdf, got '.xyz'")


def test_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(PlotError, match=r"^plots need matplotlib: pip install 'ase-deeppot\[plots\]'$"):
        plot_parity(list(columns(3, 3, 0)), tmp_path / "parity.png")


def test_a_full_disk_costs_no_older_picture(tmp_path, monkeypatch):
    path = tmp_path / "parity.png"
    path.write_bytes(b"older")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        plot_parity(list(columns(3, 3, 0)), path)
    assert path.read_bytes() == b"older"
