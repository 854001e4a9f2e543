"""Training from start to finish: sources, frames, statistics, model, steps, model file."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
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
from ase_deeppot.fitting.frames import Frames, concatenate, suspect_units
from ase_deeppot.fitting.local_frame_statistics import force_jump, left_out, normalise_slots, with_slots
from ase_deeppot.fitting.metrics import Accuracy, format_accuracy
from ase_deeppot.fitting.progress import Log, progress_bar
from ase_deeppot.fitting.sources import Source, format_reports, read_frames
from ase_deeppot.fitting.statistics import base_names, content_hashes, domain, energy_bias, normalise, survey
from ase_deeppot.fitting.trainer import CHECKPOINT, Trainer, TrainingError
from ase_deeppot.potential.archive import Model, save_model
from ase_deeppot.potential.card import Domain, ModelCard, describe_descriptor
from ase_deeppot.potential.config import ModelConfig
from ase_deeppot.potential.deep_potential import DeepPotential
from ase_deeppot.potential.local_frame import LocalFrameDescriptor
from ase_deeppot.structures import elements_of
from ase_deeppot.version import __version__

MODEL = "model.pth"
# What changes no number, and names of data, which are compared by content.
FREE_ON_RESTART = ("output", "data.train", "data.validation", "data.pairs_memory", "training.checkpoint_every")

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
        If the loss stops being finite, or the finished model cannot be written.
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
    there = [folder / name for name in (CHECKPOINT, MODEL) if (folder / name).exists()]
    if restart and folder / CHECKPOINT not in there:
        raise ConfigError(f"cannot restart: no {folder / CHECKPOINT}")
    if there and not restart:
        restartable = "restart to go on from it, " if folder / CHECKPOINT in there else ""
        raise ConfigError(f"{there[0]} is there already: {restartable}choose another output folder, or delete it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the output folder {folder}: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"cannot write to the output folder {folder}")


def _read(config: FittingConfig, train: Sources | None, validation: Sources | None,
          log: Callable[[str], None]) -> tuple[Frames, Frames | None]:
    """Frames to train on and to validate with; says what was found and what looks wrong."""
    train = train if train is not None else list(config.data.train)
    validation = validation if validation is not None else list(config.data.validation)
    if isinstance(train, list) and not train:
        raise ConfigError("expected data.train to name at least one source, got none")
    set_aside = isinstance(validation, list) and not validation
    frames = _read_sources(config, train, "training", log)
    if set_aside:
        everything = frames
        frames, held_out = split(frames, config.data.validation_fraction, config.training.seed)
        log(f"{held_out.count} of them set aside for validation")
    else:
        held_out = _read_sources(config, validation, "validation", log)
        everything = concatenate([frames, held_out])
    for warning in suspect_units(everything):
        log(f"warning: {warning}")
    return frames, held_out if held_out.count else None


def _read_sources(config: FittingConfig, sources: Sources, part: str, log: Callable[[str], None]) -> Frames:
    frames, reports = read_frames(sources, config.data.keys, Path(config.output) / "cache")
    log("\n".join([f"{part} frames", *format_reports(reports)]))
    return frames


def _with_type_map(config: FittingConfig, frames: Frames) -> FittingConfig:
    type_map = config.model.type_map or elements_of(frames.numbers)
    return replace(config, model=replace(config.model, type_map=type_map))


def _trainer(config: FittingConfig, datasets: list[Dataset], checkpoint: Checkpoint | None,
             log: Callable[[str], None]) -> Trainer:
    hashes = {"sources_sha256": content_hashes(datasets[0].frames),
              "validation_sha256": content_hashes(datasets[1].frames) if len(datasets) > 1 else {}}
    torch.manual_seed(config.training.seed)
    shape = with_slots(config.model, datasets[0]) if checkpoint is None else checkpoint.card.config
    model = DeepPotential(shape)
    if checkpoint is not None:
        _check_same_run(checkpoint, config, hashes)
        card = checkpoint.card
        log(f"going on from step {checkpoint.step}")
    else:
        card = _start(model, shape, config, datasets[0], hashes)
    log(_describe(model, shape))
    _report_left_out(model, datasets[0], log)
    trainer = Trainer(config, model, card, datasets[0], datasets[1] if len(datasets) > 1 else None, log)
    if checkpoint is not None:
        trainer.restore(checkpoint)
    return trainer


def _start(model: DeepPotential, shape: ModelConfig, config: FittingConfig, train: Dataset,
           hashes: Mapping[str, Mapping[str, str]]) -> ModelCard:
    """Set the model's statistics from the training frames; what they cover goes into the card."""
    type_map, descriptor = shape.type_map, model.descriptor
    environments = survey(train, shape)
    if isinstance(descriptor, LocalFrameDescriptor):
        normalise_slots(descriptor, train)
    else:
        normalise(descriptor, environments)
    bias = energy_bias(train, type_map, config.data.energy_bias)
    model.fitting_net.energy_bias.copy_(torch.from_numpy(bias))
    provenance = {**hashes, "settings": _portable_settings(config)}
    return ModelCard(shape, domain(train, environments, type_map), provenance, __version__)


def _report_left_out(model: DeepPotential, train: Dataset, log: Callable[[str], None]) -> None:
    if not isinstance(model.descriptor, LocalFrameDescriptor):
        return
    without, everyone = left_out(model.descriptor, train)
    if without:
        log(f"warning: {without} of {everyone} neighbours have no slot: the farthest are left out; raise "
            "descriptor.sel_r, or leave it out to have it counted")


def _portable_settings(config: FittingConfig) -> dict[str, Any]:
    """What the model's card keeps of the input: no folders, which mean nothing elsewhere."""
    data = replace(config.data, train=base_names(config.data.train), validation=base_names(config.data.validation))
    settings = asdict(replace(config, data=data))
    return {key: settings[key] for key in ("data", "loss", "learning_rate", "training")}


def _check_same_run(checkpoint: Checkpoint, config: FittingConfig, hashes: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse to go on with anything that would change the numbers; data are compared by content, not by name."""
    before, now = dict(_flat(asdict(checkpoint.config))), dict(_flat(asdict(config)))
    changed = [f"{key} (was {before[key]!r}, now {now[key]!r})" for key in now
               if key not in FREE_ON_RESTART and now[key] != before[key]]
    if changed:
        raise ConfigError(f"cannot restart with other settings: {', '.join(changed)}")
    for part, table in (("training", "sources_sha256"), ("validation", "validation_sha256")):
        old, new = checkpoint.card.training[table], hashes[table]
        if list(old.values()) != list(new.values()):
            names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
            raise ConfigError(f"cannot restart with other data: the {part} frames of {', '.join(names)} are not those "
                              "of the checkpoint")


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Options of nested tables by their full names: ``model.descriptor.neuron``."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _describe(model: DeepPotential, config: ModelConfig) -> str:
    weights = sum(parameter.numel() for parameter in model.parameters())
    descriptor = describe_descriptor(config.descriptor)
    return (f"model for {', '.join(config.type_map)}: rcut {config.rcut:g} A, {descriptor}, fitting "
            f"{'-'.join(map(str, config.fitting_net.neuron))}, {weights:,} weights, {config.precision}")


def _with_jump(trainer: Trainer) -> Domain:
    """The card's domain, with what was measured on the trained model."""
    if not isinstance(trainer.model.descriptor, LocalFrameDescriptor):
        return trainer.card.domain
    return replace(trainer.card.domain, force_jump=force_jump(trainer.model, trainer.train))


def _finish(trainer: Trainer, folder: Path, finished: bool, log: Callable[[str], None]) -> FitResult:
    path = folder / MODEL
    if not finished:
        kept = f"{folder / CHECKPOINT} holds step {trainer.saved}: go on with restart, or freeze it"
        log(f"interrupted at step {trainer.done}; {'nothing is saved' if trainer.saved is None else kept}")
        return FitResult(path, False, ())
    errors = trainer.validate()
    record = {"steps": trainer.done, "seconds": round(trainer.seconds, 1),
              "validation_rmse": {row.name: row.rmse for row in errors if row.labels}}
    card = replace(trainer.card, training=trainer.card.training | record, domain=_with_jump(trainer))
    if errors:
        log("validation, " + format_accuracy(errors, len(trainer.validation or ())))
    try:
        save_model(path, Model(trainer.snapshot().module, card))
    except OSError as error:
        raise TrainingError(f"could not write {path} ({error.strerror}); {folder / CHECKPOINT} holds step "
                            f"{trainer.saved}: make room and restart") from error
    log(f"wrote {path}")
    return FitResult(path, True, errors)
