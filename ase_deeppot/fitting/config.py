"""The training input: one frozen dataclass a table of the TOML file; defaults are the paper's where it has them."""

import glob
import math
import os
import tomllib
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from ase_deeppot.config import parse
from ase_deeppot.errors import ConfigError
from ase_deeppot.fitting.labels import KeyMapping
from ase_deeppot.potential.config import ModelConfig


@dataclass(frozen=True)
class DataConfig:
    """[data]: where the labelled frames are, and what their labels are called."""

    train: tuple[str, ...] = ()  # files, globs, file@slice, file.db@selection; see read_config for relative paths
    validation: tuple[str, ...] = ()  # the same; empty: a share of the training frames
    validation_fraction: float = 0.1  # that share, drawn with the seed
    keys: KeyMapping = field(default_factory=KeyMapping)
    energy_bias: Literal["least_squares", "isolated_atoms"] = "least_squares"
    pairs_memory: float = 2.0  # GB for neighbour lists and descriptors kept between steps; others are made anew


@dataclass(frozen=True)
class LossConfig:
    """[loss]: prefactors at the start and at the end (limit) of the learning rate's decay."""

    start_pref_e: float = 1.0
    limit_pref_e: float = 400.0
    start_pref_f: float = 1000.0
    limit_pref_f: float = 1.0
    start_pref_v: float = 1.0
    limit_pref_v: float = 400.0


@dataclass(frozen=True)
class LearningRateConfig:
    """[learning_rate]: exponential decay from start to stop over all steps."""

    start: float = 2e-3
    stop: float = 2e-5


@dataclass(frozen=True)
class TrainingConfig:
    """[training]: how long, in which steps, how often to look."""

    steps: int = 20_000
    batch_size: int = 0  # frames a step; 0: as many as have batch_atoms atoms together, on average
    batch_atoms: int = 128
    validate_every: int = 500  # steps between lines of the learning curve
    checkpoint_every: int = 500  # steps
    seed: int = 1
    device: str = "cpu"


@dataclass(frozen=True)
class FittingConfig:
    """The whole input."""

    output: str = "deeppot-fit"  # folder for checkpoint, learning curve and model, from the current folder
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    learning_rate: LearningRateConfig = field(default_factory=LearningRateConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        _check(self)


def read_config(path: str | Path) -> FittingConfig:
    """Read a training input.

    Relative paths in ``data.train`` and ``data.validation`` count from the folder of the input, so that it can be
    used from anywhere; ``output`` counts from the current folder.

    Raises
    ------
    ConfigError
        If the file is missing or no TOML, or an option is unknown or of the wrong type; the message names it.
    """
    try:
        with Path(path).open("rb") as file:
            mapping = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected TOML, got {error}") from error
    try:
        config = parse(FittingConfig, mapping)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    train, validation = (tuple(_from_folder(os.path.dirname(path), source) for source in sources)
                         for sources in (config.data.train, config.data.validation))
    return replace(config, data=replace(config.data, train=train, validation=validation))


def _from_folder(folder: str, source: str) -> str:
    if source.startswith("~"):
        return source
    # The wildcards are those of the source: a folder may have brackets in its name.
    return os.path.join(glob.escape(folder) if glob.has_magic(source) else folder, source)


def _check(config: FittingConfig) -> None:
    training, rate, data, prefactors = config.training, config.learning_rate, config.data, asdict(config.loss)
    rules = (
        (training.steps > 0, f"expected training.steps > 0, got {training.steps}"),
        (training.batch_size >= 0, f"expected training.batch_size >= 0, got {training.batch_size}"),
        (training.batch_atoms > 0, f"expected training.batch_atoms > 0, got {training.batch_atoms}"),
        (min(training.validate_every, training.checkpoint_every) > 0,
         "expected training.validate_every and checkpoint_every > 0, got "
         f"{training.validate_every} and {training.checkpoint_every}"),
        (training.seed >= 0, f"expected training.seed >= 0, got {training.seed}"),
        (0 < rate.stop <= rate.start < math.inf,
         f"expected 0 < learning_rate.stop <= start, got {rate.stop} and {rate.start}"),
        (0 <= data.validation_fraction < 1, "expected 0 <= data.validation_fraction < 1, got "
                                            f"{data.validation_fraction}"),
        (data.pairs_memory >= 0, f"expected data.pairs_memory >= 0, got {data.pairs_memory}"),
        (all(0 <= value < math.inf for value in prefactors.values()),
         "expected finite prefactors >= 0 in [loss], got " + ", ".join(f"{key} = {value}" for key, value in
                                                                       prefactors.items())),
    )
    for holds, message in rules:
        if not holds:
            raise ConfigError(message)
