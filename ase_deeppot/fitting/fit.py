"""Training from start to finish: sources, frames, statistics, model, steps, model file."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ase_deeppot.config import parse
from ase_deeppot.errors import ConfigError
from ase_deeppot.fitting import learning_curve
from ase_deeppot.fitting.checkpoint import Checkpoint, load_checkpoint
from ase_deeppot.fitting.config import FittingConfig
from ase_deeppot.fitting.datasets import Dataset, split
from ase_deeppot.fitting.frames import Frames, suspect_units
from ase_deeppot.fitting.metrics import Accuracy, format_accuracy
from ase_deeppot.fitting.progress import Log, progress_bar
from ase_deeppot.fitting.sources import Source, format_reports, read_frames
from ase_deeppot.fitting.statistics import content_hashes, domain, energy_bias, normalise, survey
from ase_deeppot.fitting.trainer import CHECKPOINT, Trainer
from ase_deeppot.potential.archive import Model, save_model
from ase_deeppot.potential.card import ModelCard
from ase_deeppot.potential.config import ModelConfig
from ase_deeppot.potential.deep_potential import DeepPotential
from ase_deeppot.structures import elements_of
from ase_deeppot.version import __version__

MODEL = "model.pth"

Sources = Source | Iterable[Source]


class FitResult(NamedTuple):
    """What a training run left behind."""

    model: Path  # the model file; not there if the run was interrupted
    finished: bool
    validation: tuple[Accuracy, ...]  # energy, forces, stress; empty without validation frames


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
        ``output="folder"`` and tables ``model``, ``data``, ``loss``, ``learning_rate``, ``training`` as mappings
        or dataclasses, as in a TOML input.

    Returns
    -------
    FitResult

    Raises
    ------
    ConfigError, DataError, StructureError
        For input that cannot be used; the message says what and where.
    TrainingError
        If the loss stops being finite.
    """
    config = _config(config, options)
    folder = Path(config.output)
    _prepare(folder, restart)
    log = Log(folder / "train.log", quiet, append=restart)
    frames, held_out = _read(config, train, validation, log)
    config = _with_type_map(config, frames)
    datasets = [Dataset(part, config.model.type_map, config.model.rcut, config.data.pairs_memory)
                for part in (frames, held_out) if part is not None]
    checkpoint = load_checkpoint(folder / CHECKPOINT) if restart else None
    trainer = _trainer(config, datasets, checkpoint, log)
    log(learning_curve.HEADER)
    with progress_bar(config.training.steps, trainer.done, quiet) as progress:
        finished = trainer.run(progress)
    return _finish(trainer, folder, finished, log)


def _config(config: FittingConfig | None, options: Mapping[str, Any]) -> FittingConfig:
    if config is not None and options:
        raise ConfigError(f"expected either config or single options, got both (config and {', '.join(options)})")
    plain = {key: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
             for key, value in options.items()}
    return config or parse(FittingConfig, plain)


def _prepare(folder: Path, restart: bool) -> None:
    """Make the output folder, and refuse to overwrite a run that could be continued."""
    folder.mkdir(parents=True, exist_ok=True)
    there = (folder / CHECKPOINT).exists()
    if restart and not there:
        raise ConfigError(f"cannot restart: no {folder / CHECKPOINT}")
    if there and not restart:
        raise ConfigError(f"{folder / CHECKPOINT} is there already: restart to go on from it, choose another "
                          "output folder, or delete it")


def _read(config: FittingConfig, train: Sources | None, validation: Sources | None,
          log: Callable[[str], None]) -> tuple[Frames, Frames | None]:
    train = train if train is not None else list(config.data.train)
    validation = validation if validation is not None else list(config.data.validation)
    if isinstance(train, list) and not train:
        raise ConfigError("expected data.train to name at least one source, got none")
    cache = Path(config.output) / "cache"
    frames, reports = read_frames(train, config.data.keys, cache)
    log("\n".join(format_reports(reports)))
    held_out: Frames | None
    if isinstance(validation, list) and not validation:
        frames, held_out = split(frames, config.data.validation_fraction, config.training.seed)
        log(f"{held_out.count} of them set aside for validation")
    else:
        held_out, reports = read_frames(validation, config.data.keys, cache)
        log("\n".join(["validation", *format_reports(reports)]))
    for warning in suspect_units(frames):
        log(f"warning: {warning}")
    return frames, held_out if held_out.count else None


def _with_type_map(config: FittingConfig, frames: Frames) -> FittingConfig:
    type_map = config.model.type_map or elements_of(frames.numbers)
    return replace(config, model=replace(config.model, type_map=type_map))


def _trainer(config: FittingConfig, datasets: list[Dataset], checkpoint: Checkpoint | None,
             log: Callable[[str], None]) -> Trainer:
    hashes = content_hashes(datasets[0].frames)
    torch.manual_seed(config.training.seed)
    model = DeepPotential(config.model)
    if checkpoint is not None:
        _check_same_run(checkpoint, config, hashes)
        card = checkpoint.card
        log(f"going on from step {checkpoint.step}")
    else:
        card = _start(model, config, datasets[0], hashes)
    log(_describe(model, config.model))
    trainer = Trainer(config, model, card, datasets[0], datasets[1] if len(datasets) > 1 else None, log)
    if checkpoint is not None:
        trainer.restore(checkpoint)
    return trainer


def _start(model: DeepPotential, config: FittingConfig, train: Dataset, hashes: dict[str, str]) -> ModelCard:
    """Set the model's statistics from the training frames; what they cover goes into the card."""
    type_map = config.model.type_map
    environments = survey(train, config.model)
    normalise(model, environments)
    bias = energy_bias(train, type_map, config.data.energy_bias)
    model.fitting_net.energy_bias.copy_(torch.from_numpy(bias))
    settings = asdict(config)
    provenance = {"sources_sha256": hashes, "settings": {key: settings[key] for key in settings if key != "model"}}
    return ModelCard(config.model, domain(train, environments, type_map), provenance, __version__)


def _check_same_run(checkpoint: Checkpoint, config: FittingConfig, hashes: dict[str, str]) -> None:
    before, now = asdict(checkpoint.config), asdict(config)
    changed = [f"{table}.{key}" for table in ("model", "data", "loss", "learning_rate", "training")
               for key in now[table] if now[table][key] != before[table][key]]
    if changed:
        raise ConfigError(f"cannot restart with other settings: {', '.join(changed)} changed since the checkpoint")
    if checkpoint.card.training["sources_sha256"] != hashes:
        raise ConfigError("cannot restart with other data: the training frames changed since the checkpoint")


def _describe(model: DeepPotential, config: ModelConfig) -> str:
    weights = sum(parameter.numel() for parameter in model.parameters())
    descriptor = config.descriptor
    return (f"model for {', '.join(config.type_map)}: rcut {config.rcut:g} A, embedding "
            f"{'-'.join(map(str, descriptor.neuron))}, axis {descriptor.axis_neuron}, fitting "
            f"{'-'.join(map(str, config.fitting_net.neuron))}, {weights:,} weights, {config.precision}")


def _finish(trainer: Trainer, folder: Path, finished: bool, log: Callable[[str], None]) -> FitResult:
    path = folder / MODEL
    if not finished:
        log(f"interrupted at step {trainer.done}; go on with restart, or freeze {folder / CHECKPOINT}")
        return FitResult(path, False, ())
    errors = trainer.validate()
    record = {"steps": trainer.done, "seconds": round(trainer.seconds, 1),
              "validation_rmse": {row.name: row.rmse for row in errors if row.labels}}
    card = replace(trainer.card, training=trainer.card.training | record)
    save_model(path, Model(trainer.snapshot().module, card))
    if trainer.validation is not None:
        log("validation, " + format_accuracy(errors, len(trainer.validation)))
    log(f"wrote {path}")
    return FitResult(path, True, errors)
