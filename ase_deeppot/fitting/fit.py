"""Training from start to finish: sources, frames, statistics, model, steps, model file."""

import os
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ase_deeppot.config import parse
from ase_deeppot.errors import ConfigError
from ase_deeppot.fitting import learning_curve
from ase_deeppot.fitting.checkpoint import load_checkpoint
from ase_deeppot.fitting.config import FittingConfig
from ase_deeppot.fitting.finish import LAST_MODEL, MODEL, FitResult, finish
from ase_deeppot.fitting.monitor import check_installed, observers
from ase_deeppot.fitting.preparation import Input, Prepared, Sources, prepare, read_input
from ase_deeppot.fitting.processes import Processes, joined, started
from ase_deeppot.fitting.progress import Log, progress_bar
from ase_deeppot.fitting.refit import refit
from ase_deeppot.fitting.trainer import CHECKPOINT, Trainer


def fit(train: Sources | None = None, validation: Sources | None = None, *, config: FittingConfig | None = None,
        restart: bool = False, quiet: bool = False, **options: Any) -> FitResult:
    """Train a Deep Potential.

    Parameters
    ----------
    train, validation : str, Path, Atoms or a list of them, optional
        Labelled structures: files, globs, ``file@slice``, ``file.db@selection`` or Atoms with results; instead of
        ``data.train`` and ``data.validation``.
    config : FittingConfig, optional
        The whole input; otherwise made from ``options``.
    restart : bool
        Go on from the checkpoint in the output folder, with the numbers of an uninterrupted run.
    quiet : bool
        Print nothing (``train.log`` is written all the same).
    **options
        ``output="folder"``, ``init_model="model.pth"`` and tables ``model``, ``data``, ``loss``, ``learning_rate``,
        ``training``, ``monitor`` as mappings or dataclasses, as in a TOML input.

    Returns
    -------
    FitResult
        In a process that is not the first of those that torchrun started, without errors.

    Raises
    ------
    ConfigError, DataError, StructureError
        For input that cannot be used; the message says what and where.
    TrainingError
        If the loss stops being finite, or the finished model cannot be written.
    ProcessError
        If another of the processes that torchrun started is gone.
    """
    config = _config(config, options)
    folder = Path(config.output)
    with joined(config.training.device) as processes:
        with processes.first_goes_ahead():
            if processes.first:
                check_installed(config)
                check_output(folder, restart)
            log = Log(folder / "train.log", quiet, append=restart) if processes.first else Log(None, quiet=True)
            found = read_input(config, train, validation, folder / "cache", log)
        return fit_frames(config, found, restart, log, processes)


def fit_frames(config: FittingConfig, found: Input, restart: bool, log: Log,
               processes: Processes = Processes()) -> FitResult:
    """As :func:`fit`, from frames that were read, in an output folder that is there."""
    folder = Path(config.output)
    checkpoint = load_checkpoint(folder / CHECKPOINT) if restart else None
    prepared = prepare(config, found, checkpoint, log)
    if prepared.card.config.fitting_net.polynomial:
        return refit(prepared, log) if processes.first else FitResult(folder / MODEL, True, ())
    trainer = _trainer(prepared, log, processes)
    if checkpoint is not None:
        trainer.restore(checkpoint)
    processes.same(list(trainer.model.state_dict().values()))
    log(learning_curve.HEADER)
    with progress_bar(config.training.steps, trainer.done, log.quiet) as progress:
        finished = trainer.run(progress)
    return finish(trainer, prepared, finished, log) if processes.first else FitResult(folder / MODEL, finished, ())


def preview(train: Sources | None = None, validation: Sources | None = None, *, config: FittingConfig | None = None,
            restart: bool = False, **options: Any) -> Prepared:
    """All that :func:`fit` does before its first step, with nothing written: what is printed, and the model.

    Takes the same arguments and raises the same errors.
    """
    config = _config(config, options)
    folder = Path(config.output)
    check_installed(config)
    _check_not_there(folder, restart)
    log = Log(None, quiet=not started().first)
    with TemporaryDirectory(ignore_cleanup_errors=True) as cache:  # files that are open may be deleted
        found = read_input(config, train, validation, Path(cache), log)
    prepared = prepare(config, found, load_checkpoint(folder / CHECKPOINT) if restart else None, log)
    if not prepared.card.config.fitting_net.polynomial:
        _trainer(prepared, log)
    log("nothing was trained or written")
    return prepared


def check_output(folder: Path, restart: bool) -> None:
    """Make the output folder, and refuse to overwrite a run that could be continued.

    Raises
    ------
    ConfigError
        If it cannot be made or written to, or holds a run, or holds none to restart.
    """
    _check_not_there(folder, restart)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the output folder {folder}: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"cannot write to the output folder {folder}")


def _check_not_there(folder: Path, restart: bool) -> None:
    there = [folder / name for name in (CHECKPOINT, MODEL, LAST_MODEL) if (folder / name).exists()]
    if restart and folder / CHECKPOINT not in there:
        raise ConfigError(f"cannot restart: no {folder / CHECKPOINT}")
    if there and not restart:
        restartable = "restart to go on from it, " if folder / CHECKPOINT in there else ""
        raise ConfigError(f"{there[0]} is there already: {restartable}choose another output folder, or delete it")


def _config(config: FittingConfig | None, options: Mapping[str, Any]) -> FittingConfig:
    if config is not None and options:
        raise ConfigError(f"expected either config or single options, got both (config and {', '.join(options)})")
    plain = {key: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
             for key, value in options.items()}
    return config or parse(FittingConfig, plain)


def _trainer(prepared: Prepared, log: Log, processes: Processes = Processes()) -> Trainer:
    config = prepared.config
    return Trainer(config, prepared.model, prepared.card, prepared.train, prepared.validation, log,
                   observers(config, log) if log.path else (), processes)
