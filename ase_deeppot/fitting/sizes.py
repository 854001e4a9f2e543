"""Errors against the number of training frames: one training run for each number, all validated alike."""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ase_deeppot.errors import ConfigError
from ase_deeppot.files import write_atomically
from ase_deeppot.fitting.checkpoint import load_checkpoint
from ase_deeppot.fitting.config import FittingConfig
from ase_deeppot.fitting.finish import MODEL
from ase_deeppot.fitting.fit import check_output, fit_frames
from ase_deeppot.fitting.monitor import check_installed
from ase_deeppot.fitting.plots import PlotError, figure, save
from ase_deeppot.fitting.preparation import Input, read_input
from ase_deeppot.fitting.processes import started
from ase_deeppot.fitting.progress import Log
from ase_deeppot.fitting.restart import check_same_run
from ase_deeppot.fitting.statistics import content_hashes
from ase_deeppot.fitting.stored import AnyFrames
from ase_deeppot.fitting.summary import summarise
from ase_deeppot.fitting.trainer import CHECKPOINT
from ase_deeppot.interop import read_card
from ase_deeppot.resources import model_path

TABLE, PICTURE = "sizes.csv", "sizes.png"
PROPERTIES = (("energy", "eV/atom"), ("forces", "eV/A"), ("stress", "eV/A^3"))


class SizeRow(NamedTuple):
    """Validation RMSEs of the run with so many training frames; NaN without labels."""

    frames: int
    rmse_e: float  # eV/atom
    rmse_f: float  # eV/A
    rmse_s: float  # eV/A^3


def train_sizes(config: FittingConfig, sizes: Sequence[int], quiet: bool = False) -> list[SizeRow]:
    """Train with some of the frames, then with more of them, and compare the errors on the same validation frames.

    The frames of a smaller run are among those of a larger one, in an order drawn with the seed; isolated atoms
    are in all of them. Each run has a folder of its own, ``output/size-N``, is skipped where it is finished and goes
    on where it was interrupted: calling again completes a table.

    Parameters
    ----------
    config : FittingConfig
        Of each run: all take the same number of steps.
    sizes : sequence of int
        Numbers of training frames.
    quiet : bool
        Print the table only.

    Returns
    -------
    list of SizeRow
        Empty if a run was interrupted. They are in ``sizes.csv`` as well, drawn in ``sizes.png``.

    Raises
    ------
    ConfigError
        If there are fewer frames than asked for, no validation frames, the runs in the folder are of other settings,
        or torchrun started several processes.
    """
    if started().number > 1:
        raise ConfigError(f"expected one process for a learning curve, got {started().number}")
    folder = Path(config.output)
    check_installed(config)
    check_output(folder, False)
    found = read_input(config, None, None, folder / "cache", Log(None, quiet))
    _check_sizes(sizes, found)
    initial = read_card(model_path(config.init_model)).config if config.init_model else config.model
    config = replace(config, model=replace(config.model, type_map=config.model.type_map
                                           or summarise(found.train, initial.bonds).species))
    rows: list[SizeRow] = []
    for size in sorted(set(sizes)):
        one = replace(config, output=str(folder / f"size-{size:06d}"))
        row = _run(one, Input(nested_subset(found.train, size, config.training.seed), found.validation), size, quiet)
        if row is None:
            return []
        rows.append(row)
        write_atomically(folder / TABLE, _csv(rows))
    print(format_sizes(rows))
    _draw(rows, folder / PICTURE)
    return rows


def nested_subset(frames: AnyFrames, size: int, seed: int) -> AnyFrames:
    """So many frames, isolated atoms first, the others in an order drawn with the seed."""
    isolated = (np.diff(frames.offsets) == 1) & ~frames.pbc.any(1)
    order = np.random.default_rng((seed, 1)).permutation(np.flatnonzero(~isolated))
    return frames.subset(np.sort(np.concatenate([np.flatnonzero(isolated), order])[:size]))


def format_sizes(rows: Sequence[SizeRow]) -> str:
    """Table for the terminal."""
    lines = [f"{'frames':>8} {'meV/atom':>10} {'meV/A':>10} {'meV/A^3':>10}   RMSE of validation"]
    lines += [f"{row.frames:8d} " + " ".join(f"{1e3 * value:>10.4g}" if value == value else f"{'-':>10}"
                                             for value in row[1:]) for row in rows]
    return "\n".join(lines)


def _check_sizes(sizes: Sequence[int], found: Input) -> None:
    if found.validation is None:
        raise ConfigError("expected validation frames to compare the sizes by, got none")
    wrong = [size for size in sizes if not 0 < size <= found.train.count]
    if wrong:
        raise ConfigError(f"expected sizes from 1 to the {found.train.count} training frames, got {wrong[0]}")


def _run(config: FittingConfig, found: Input, size: int, quiet: bool) -> SizeRow | None:
    """Train, go on, or take what is there; None after an interrupt."""
    folder = Path(config.output)
    begun = (folder / CHECKPOINT).exists()
    if begun and (folder / MODEL).exists():
        _check_finished(config, found, folder)
    else:
        check_output(folder, begun)
        log = Log(folder / "train.log", quiet, append=begun)
        log(f"== {size} training frames ==")
        if not fit_frames(config, found, begun, log).finished:
            return None
    errors = read_card(folder / MODEL).training["validation_rmse"]
    return SizeRow(size, *(errors.get(name, float("nan")) for name, _ in PROPERTIES))


def _check_finished(config: FittingConfig, found: Input, folder: Path) -> None:
    """A run that is taken as it is must be the one that would be made."""
    checkpoint = load_checkpoint(folder / CHECKPOINT)
    config = replace(config, model=checkpoint.config.model) if config.init_model else config
    parts = (("sources_sha256", found.train), ("validation_sha256", found.validation))
    hashes = {name: content_hashes(frames, summarise(frames)) if frames else {} for name, frames in parts}
    try:
        check_same_run(checkpoint, config, hashes)
    except ConfigError as error:
        raise ConfigError(f"{folder}: {error}; choose another output folder, or delete it") from error


def _csv(rows: Sequence[SizeRow]) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(SizeRow._fields)
    writer.writerows([row.frames, *("" if value != value else f"{value:.8g}" for value in row[1:])] for row in rows)
    return buffer.getvalue().encode()


def _draw(rows: Sequence[SizeRow], path: Path) -> None:
    """Errors against frames, both on logarithmic scales; nothing without matplotlib."""
    present = [(1 + n, name, unit) for n, (name, unit) in enumerate(PROPERTIES) if rows[0][1 + n] == rows[0][1 + n]]
    try:
        drawing = figure(4.2 * len(present), 3.6)
    except PlotError:
        return
    for axes, (column, name, unit) in zip(drawing.subplots(1, len(present), squeeze=False)[0], present, strict=True):
        axes.plot([row.frames for row in rows], [1e3 * row[column] for row in rows], "C3o-")
        axes.set(xscale="log", yscale="log", xlabel="training frames", ylabel=f"RMSE of {name}, m{unit}")
        axes.set_xticks([row.frames for row in rows], [str(row.frames) for row in rows])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter("{x:g}")
        axes.grid(alpha=0.3, which="both")
    save(drawing, path)
    print(f"wrote {path}")
