"""What a run shows while it goes: seldom enough, and never in the way of training."""

import errno
import os
import sys

import pytest

from ase_deeppot.config import parse
from ase_deeppot.errors import ConfigError
from ase_deeppot.fitting import FittingConfig, fit, monitor, preview
from ase_deeppot.fitting.learning_curve import Row, SourceRow
from ase_deeppot.fitting.monitor import Picture, TensorBoard, observers

ROWS = [Row(step, *[1.0 / step] * 9) for step in (5, 10)]


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets; drawing takes a second on it."""
    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now
    made = Clock()
    monkeypatch.setattr(monitor, "time", made)
    return made


def test_pictures_are_drawn_seldom(tmp_path, clock, monkeypatch):
    drawn = []

    def draw(rows, path):
        drawn.append(clock.now)
        clock.now += 1.0
    monkeypatch.setattr(monitor, "plot_learning_curve", draw)
    picture = Picture(tmp_path, print)
    for _ in range(200):
        picture(ROWS, [])
        clock.now += 1.0
    assert drawn == [100.0, 151.0, 202.0, 253.0]  # a fiftieth of the time


def test_a_picture_is_there(tmp_path):
    Picture(tmp_path, print)(ROWS, [])
    assert (tmp_path / "learning_curve.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_nothing_is_drawn_or_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    said = []
    picture = Picture(tmp_path, said.append)
    picture(ROWS, [])
    picture(ROWS, [])
    assert said == []
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_once(tmp_path, monkeypatch):
    def full(rows, path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(monitor, "plot_learning_curve", full)
    said = []
    picture = Picture(tmp_path, said.append)
    picture.draw(ROWS)
    picture.draw(ROWS)
    path = tmp_path / "learning_curve.png"
    assert said == [f"warning: could not write {path} (No space left on device); training goes on"]


def test_options_choose_what_is_shown(tmp_path):
    def of(**options):
        return observers(parse(FittingConfig, {"output": str(tmp_path), "monitor": options}), print)
    assert [type(one) for one in of()] == [Picture]
    assert of(plot=False) == ()


def test_tensorboard_is_asked_for_without_being_there(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match=r"^monitor.tensorboard needs TensorBoard: pip install tensorboard$"):
        TensorBoard(tmp_path)


@pytest.mark.parametrize("run", [fit, preview])
def test_what_is_not_installed_is_said_before_data_are_read(tmp_path, monkeypatch, run):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match=r"^monitor.tensorboard needs TensorBoard: pip install tensorboard$"):
        run(str(tmp_path / "none.xyz"), output=str(tmp_path / "out"), monitor={"tensorboard": True})
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_gets_each_line_once(tmp_path):
    pytest.importorskip("tensorboard")
    board = TensorBoard(tmp_path)
    shown = []
    board.writer.add_scalar = lambda name, value, step: shown.append((name, step))
    board(ROWS[:1], [SourceRow(5, "a.xyz", 1.0, 2.0, 3.0)])
    board(ROWS, [SourceRow(5, "a.xyz", 1.0, 2.0, 3.0)])
    assert shown.count(("rmse_f_val", 5)) == shown.count(("rmse_f_val", 10)) == shown.count(("forces/a.xyz", 5)) == 1
    assert [path.name.startswith("events") for path in (tmp_path / "tensorboard").iterdir()] == [True]
