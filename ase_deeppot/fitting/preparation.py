"""All that comes before the first step: frames read and looked at, and a model with its statistics set."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ase_deeppot.errors import ConfigError
from ase_deeppot.fitting import checks, overview
from ase_deeppot.fitting.bias import change_bias, energy_bias
from ase_deeppot.fitting.checkpoint import Checkpoint
from ase_deeppot.fitting.config import FittingConfig
from ase_deeppot.fitting.datasets import Budget, Dataset, split
from ase_deeppot.fitting.frames import Frames
from ase_deeppot.fitting.local_frame_statistics import left_out, normalise_slots, with_slots
from ase_deeppot.fitting.polynomials import check_polynomials
from ase_deeppot.fitting.restart import check_same_run
from ase_deeppot.fitting.sources import Source, open_frames
from ase_deeppot.fitting.standardisation import standardise
from ase_deeppot.fitting.statistics import (
    Environments,
    also_covered,
    base_names,
    content_hashes,
    domain,
    normalise,
    survey,
    survey_of_part,
)
from ase_deeppot.fitting.stored import AnyFrames, StoredFrames
from ase_deeppot.fitting.summary import Summary, summarise
from ase_deeppot.fitting.tally import format_reports
from ase_deeppot.fitting.transfer import shape_from, take_over
from ase_deeppot.fitting.weights import frame_weights, species_weights
from ase_deeppot.interop import load_model
from ase_deeppot.potential.archive import Model
from ase_deeppot.potential.card import ModelCard, describe_descriptor, describe_fitting_net
from ase_deeppot.potential.config import HybridConfig, ModelConfig, SmoothConfig
from ase_deeppot.potential.deep_potential import DeepPotential
from ase_deeppot.potential.hybrid import smooth_parts
from ase_deeppot.potential.local_frame import LocalFrameDescriptor
from ase_deeppot.potential.parameters import refuse
from ase_deeppot.resources import model_path
from ase_deeppot.species import elements_among
from ase_deeppot.version import __version__

Sources = Source | Iterable[Source]
Say = Callable[[str], None]


class Input(NamedTuple):
    """Labelled frames of a run."""

    train: AnyFrames
    validation: AnyFrames | None


class Prepared(NamedTuple):
    """A run that is ready for its first step."""

    config: FittingConfig  # with the species and the shape of the model
    model: DeepPotential
    card: ModelCard
    train: Dataset
    validation: Dataset | None
    overview: tuple[str, ...]  # lines on the data
    warnings: tuple[str, ...]  # what looks wrong in them


def read_input(config: FittingConfig, train: Sources | None, validation: Sources | None, cache: Path,
               say: Say) -> Input:
    """Frames to train on and to validate with; says what was found.

    They are copied to files in the folder ``cache``, and stay there if there is no memory for them.
    """
    train = train if train is not None else list(config.data.train)
    validation = validation if validation is not None else list(config.data.validation)
    if isinstance(train, list) and not train:
        raise ConfigError("expected data.train to name at least one source, got none")
    frames = _open_sources(config, train, "training", cache, say)
    if isinstance(validation, list) and not validation:
        frames, held_out = split(frames, config.data.validation_fraction, config.training.seed)
        say(f"{held_out.count} of them set aside for validation")
    else:
        held_out = _open_sources(config, validation, "validation", cache, say)
    size = frames.nbytes + held_out.nbytes
    if size <= 1e9 * config.data.memory:
        return Input(frames.select(slice(None)), held_out.select(slice(None)) if held_out.count else None)
    say(f"their {size / 1e9:.3g} GB are more than data.memory ({config.data.memory:g} GB): they are read from disk as "
        "they are needed")
    return Input(frames, held_out if held_out.count else None)


def _open_sources(config: FittingConfig, sources: Sources, part: str, cache: Path, say: Say) -> StoredFrames:
    frames, reports = open_frames(sources, config.data.keys, cache, 1e9 * config.data.memory)
    say("\n".join([f"{part} frames", *format_reports(reports)]))
    return frames


def prepare(config: FittingConfig, found: Input, checkpoint: Checkpoint | None, say: Say) -> Prepared:
    """Look at the data and make the model; all that looks wrong is said."""
    starts = bool(config.init_model) and checkpoint is None
    initial = load_model(model_path(config.init_model)) if starts else None
    summary = summarise(found.train, _begun(config, initial, checkpoint).bonds)
    config = replace(config, model=_shape(config, summary.species, initial, checkpoint))
    refuse(config.model.fitting_net, "in training")
    _refuse_pairwise(config.model)
    if initial is None:
        _refuse_polynomials(config.model)
    check_polynomials(config)
    train, validation = datasets(config, found, summary)
    config = replace(config, model=with_slots(config.model, train, checkpoint and checkpoint.config.model))
    environments = survey(train, config.model)
    lines = tuple(overview.describe(train, environments, config))
    warnings = tuple(checks.findings(train, validation, environments, config))
    say("\n".join(["", *lines, *(f"warning: {warning}" for warning in warnings)]))
    hashes = {"sources_sha256": content_hashes(train.frames, train.summary),
              "validation_sha256": content_hashes(validation.frames, validation.summary) if validation else {}}
    torch.manual_seed(config.training.seed)
    model = DeepPotential(config.model)
    if checkpoint is not None:
        check_same_run(checkpoint, config, hashes)
        card = checkpoint.card
        say(f"going on from step {checkpoint.step}")
    else:
        card = _start(model, config, train, environments, hashes, initial, say)
    say(_describe(model, config.model))
    _say_left_out(model, train, say)
    return Prepared(config, model, card, train, validation, lines, warnings)


def datasets(config: FittingConfig, found: Input, summary: Summary | None = None) -> tuple[Dataset, Dataset | None]:
    """Frames with their species and weights; what is kept of both has one budget."""
    in_memory = [frames for frames in found if isinstance(frames, Frames)]
    budget = Budget(config.data.memory)
    budget.take(sum(array.nbytes for frames in in_memory for array in frames[:3]))
    train = Dataset(found.train, config.model.type_map, config.model.rcut, budget, summary)
    train.weights = frame_weights(train.frames, config.data.source_weights)
    train.species_weights = species_weights(config.model.type_map, config.loss.species_weights)
    return train, found.validation and Dataset(found.validation, config.model.type_map, config.model.rcut, budget)


def _refuse_pairwise(model: ModelConfig) -> None:
    """Embedding nets that are evaluated for every pair: moments would depend on what is trained."""
    shapes = model.descriptor.parts if isinstance(model.descriptor, HybridConfig) else [model.descriptor]
    for shape in shapes:
        if isinstance(shape, SmoothConfig) and shape.order == 0:
            raise ConfigError("expected embedding nets that are read as a series (descriptor.order >= 2) in training, "
                              f"got some with {shape.activation} that are evaluated for every pair: such a model can "
                              "be run and exported, not trained further")


def _refuse_polynomials(model: ModelConfig) -> None:
    """Polynomials, which no step finds."""
    if model.fitting_net.polynomial:
        raise ConfigError("expected fitting nets in [model], got polynomials: leave fitting_net.polynomial out, and "
                          "set training.monomials, to have them in the nets' place in the end")


def _shape(config: FittingConfig, species: tuple[str, ...], initial: Model | None,
           checkpoint: Checkpoint | None) -> ModelConfig:
    begun = _begun(config, initial, checkpoint)
    return shape_from(begun, config.model, species) if initial else replace(begun, type_map=begun.type_map or species)


def _begun(config: FittingConfig, initial: Model | None, checkpoint: Checkpoint | None) -> ModelConfig:
    """The shape of the model that training starts from, or has started from, else the one that is asked for."""
    if initial is not None:
        return initial.card.config
    return checkpoint.config.model if config.init_model and checkpoint is not None else config.model


def _start(model: DeepPotential, config: FittingConfig, train: Dataset, environments: Environments,
           hashes: Mapping[str, Mapping[str, str]], initial: Model | None, say: Say) -> ModelCard:
    """Set the model's statistics; what the training frames cover goes into the card."""
    type_map = config.model.type_map
    provenance: dict[str, Any] = {**hashes, "settings": _portable_settings(config)}
    covered = domain(train, environments, type_map)
    if initial is not None and config.model.fitting_net.polynomial:
        covered = also_covered(covered, initial.card.domain)
    card = ModelCard(config.model, covered, provenance, __version__)
    if initial is None:
        _normalise(model, config.model, train, environments)
        bias = energy_bias(train, type_map, config.data.energy_bias)
        model.fitting_net.energy_bias.copy_(torch.from_numpy(bias))
        standardise(model, train)
        return card
    take_over(model, initial, type_map, _of_parts(config.model, train, environments))
    standardise(model, train, known=len(initial.card.type_map))
    shift = change_bias(Model(model, card), train, config.data.energy_bias)
    new = [symbol for symbol in type_map if symbol not in initial.card.type_map]
    say(f"starting from {config.init_model}, a model for {', '.join(initial.card.type_map)}"
        + (f"; new: {', '.join(new)}" if new else "") + "; energy bias changed by "
        + ", ".join(f"{symbol} {value:+.4g} eV" for symbol, value in zip(type_map, shift, strict=True)))
    earlier = {key: initial.card.training[key] for key in ("sources_sha256", "steps", "init_model")
               if key in initial.card.training}
    return replace(card, training=provenance | {"init_model": {"name": base_names([config.init_model])[0], **earlier}})


def _normalise(model: DeepPotential, config: ModelConfig, train: Dataset, environments: Environments) -> None:
    if isinstance(model.descriptor, LocalFrameDescriptor):
        normalise_slots(model.descriptor, train)
        return
    for part, own in zip(smooth_parts(model.descriptor), _of_parts(config, train, environments), strict=True):
        normalise(part, own)


def _of_parts(config: ModelConfig, train: Dataset, environments: Environments) -> list[Environments]:
    """What each part of the descriptor sees."""
    if isinstance(config.descriptor, HybridConfig):
        return [survey_of_part(train, config, part) for part in config.descriptor.parts]
    return [environments]


def _say_left_out(model: DeepPotential, train: Dataset, say: Say) -> None:
    if not isinstance(model.descriptor, LocalFrameDescriptor):
        return
    without, everyone = left_out(model.descriptor, train)
    if without:
        say(f"warning: {without} of {everyone} neighbours have no slot: the farthest are left out; raise "
            "descriptor.sel_r, or leave it out to have it counted")


def _portable_settings(config: FittingConfig) -> dict[str, Any]:
    """What the model's card keeps of the input: no folders, which mean nothing elsewhere."""
    data = config.data
    data = replace(data, train=base_names(data.train), validation=base_names(data.validation), source_weights=dict(
        zip(base_names(tuple(data.source_weights)), data.source_weights.values(), strict=True)))
    settings = asdict(replace(config, data=data))
    return {key: settings[key] for key in ("data", "loss", "learning_rate", "training")}


def _describe(model: DeepPotential, config: ModelConfig) -> str:
    weights = sum(parameter.numel() for parameter in model.parameters())
    descriptor = describe_descriptor(config.descriptor)
    known = ", ".join(elements_among(config.type_map)) + (f" ({len(config.type_map)} species)" if config.bonds else "")
    return (f"model for {known}: rcut {config.rcut:g} A, {descriptor}, fitting "
            f"{describe_fitting_net(config.fitting_net)}, {weights:,} weights, {config.precision}")
