"""What a run shows of itself while it goes: a picture of the learning curve, and TensorBoard's files."""

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ase_deeppot.errors import ConfigError
from ase_deeppot.fitting.config import FittingConfig
from ase_deeppot.fitting.learning_curve import Row, SourceRow
from ase_deeppot.fitting.plots import PlotError, plot_learning_curve

PICTURE = "learning_curve.png"
SHORTEST_PAUSE = 5.0  # s between pictures
SHARE = 0.02  # of the time that drawing may take

Observer = Callable[[list[Row], list[SourceRow]], None]


class Picture:
    """Draws the learning curve anew, but not so often that training would notice."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.path, self.say = folder / PICTURE, say
        self.due = 0.0
        self.broken = False

    def __call__(self, rows: list[Row], by_source: list[SourceRow]) -> None:
        """Draw if it is time to."""
        if time.monotonic() >= self.due:
            self.draw(rows)

    def draw(self, rows: list[Row]) -> None:
        """Draw; what goes wrong is said once, and no reason to stop."""
        began = time.monotonic()
        try:
            plot_learning_curve(rows, self.path)
        except PlotError:
            self.due = float("inf")  # no matplotlib: the same numbers are in lcurve.csv
            return
        except OSError as error:
            if not self.broken:
                self.say(f"warning: could not write {self.path} ({error.strerror}); training goes on")
            self.broken = True
        ended = time.monotonic()
        self.due = ended + max(SHORTEST_PAUSE, (ended - began) / SHARE)


class TensorBoard:
    """Writes the newest line of the learning curve for TensorBoard.

    Raises
    ------
    ConfigError
        If TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self.writer: Any = _summary_writer()(str(folder / "tensorboard"))
        self.shown = 0

    def __call__(self, rows: list[Row], by_source: list[SourceRow]) -> None:
        """Add what is new: lines of the whole curve, and the newest of each source."""
        for row in rows[self.shown :]:
            for name, value in row._asdict().items():
                if name not in ("step", "seconds") and value == value:
                    self.writer.add_scalar(name, value, int(row.step))
        self.shown = len(rows)
        for newest in by_source:
            if newest.step == rows[-1].step:
                self.writer.add_scalar(f"forces/{newest.source}", newest.rmse_f, int(newest.step))
        self.writer.flush()


def _summary_writer() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of TensorBoard's own making, at import
            from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError("monitor.tensorboard needs TensorBoard: pip install tensorboard") from error
    return SummaryWriter


def check_installed(config: FittingConfig) -> None:
    """Refuse what [monitor] asks for and is not there, before any data are read.

    Raises
    ------
    ConfigError
        If TensorBoard is not installed.
    """
    if config.monitor.tensorboard:
        _summary_writer()


def observers(config: FittingConfig, say: Callable[[str], None]) -> tuple[Observer, ...]:
    """What the options of [monitor] ask for."""
    folder, wanted = Path(config.output), config.monitor
    found: list[Observer] = [TensorBoard(folder)] if wanted.tensorboard else []
    return tuple([*found, Picture(folder, say)] if wanted.plot else found)
