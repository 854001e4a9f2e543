"""The training input: one frozen dataclass a table of the TOML file; defaults are the paper's where it has them."""

import glob
import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ase_deeppot.config import check_ranges, option, parse
from ase_deeppot.errors import ConfigError
from ase_deeppot.fitting.labels import KeyMapping
from ase_deeppot.potential.config import ModelConfig
from ase_deeppot.species import unknown_species


@dataclass(frozen=True)
class DataConfig:
    """[data]: where the labelled frames are, and what their labels are called."""

    train: tuple[str, ...] = option((), "files, globs, file@slice or file.db@selection to train on")
    validation: tuple[str, ...] = option((), "the same, to validate with; empty: a share of the training frames")
    validation_fraction: float = option(0.1, "that share, drawn with the seed, at most 1000 frames; isolated atoms "
                                             "stay in training", least=0, below=1)
    source_weights: Mapping[str, float] = option(dict, "weight of all frames of a source, by its name or a pattern "
                                                       "as \"surface*.xyz\"; 1 where nothing is said")
    energy_bias: Literal["least_squares", "isolated_atoms"] = option(
        "least_squares", "energy of each species: a fit of the frames' energies by their composition, or the "
                         "energies of the frames with a single atom")
    memory: float = option(2.0, "GB for frames, neighbour lists and descriptors; frames that do not fit stay in the "
                                "cache on disk, and what else does not fit is made anew for each step", least=0)
    keys: KeyMapping = option(KeyMapping, "names of the labels in the files")


@dataclass(frozen=True)
class LossConfig:
    """[loss]: prefactors at the start and at the end (limit) of the learning rate's decay."""

    start_pref_e: float = option(10.0, "weight of the energy error per atom at the start", least=0, below=math.inf)
    limit_pref_e: float = option(400.0, "and at the end", least=0, below=math.inf)
    start_pref_f: float = option(1000.0, "weight of the force error at the start", least=0, below=math.inf)
    limit_pref_f: float = option(1.0, "and at the end", least=0, below=math.inf)
    start_pref_v: float = option(1.0, "weight of the virial error per atom at the start", least=0, below=math.inf)
    limit_pref_v: float = option(400.0, "and at the end", least=0, below=math.inf)
    species_weights: Mapping[str, float] = option(dict, "weight of the force errors of a species, as { H = 0.5 }; 1 "
                                                        "where nothing is said")


@dataclass(frozen=True)
class LearningRateConfig:
    """[learning_rate]: from start to stop over all steps; the paper's recipe is Adam and an exponential."""

    optimizer: Literal["muon", "adam", "kalman"] = option(
        "muon", "Muon for weight matrices and Adam for the rest; Adam for all, as in the papers; or a Kalman filter, "
                "for few frames and small nets, which knows no rates and the last prefactors only")
    start: float = option(2e-3, "learning rate of Adam at the first step", above=0, below=math.inf)
    stop: float = option(2e-5, "and at the last step", above=0)
    matrices: float = option(5e-3, "learning rate of Muon at the first step; falls like the other", above=0,
                             below=math.inf)
    decay: Literal["linear", "exponential"] = option("linear", "how the rates fall")
    warmup: int = option(300, "steps in which the rates rise to those of the start, at most a tenth of all", least=0)


@dataclass(frozen=True)
class TrainingConfig:
    """[training]: how long, in which steps, how often to look."""

    steps: int = option(20_000, "steps in all", above=0)
    batch_size: int = option(0, "frames a step; 0: as many as have batch_atoms atoms together, on average", least=0)
    batch_atoms: int = option(128, "see batch_size", above=0)
    validate_every: int = option(500, "steps between lines of the learning curve", above=0)
    checkpoint_every: int = option(500, "steps between checkpoints", above=0)
    patience: int = option(0, "stop after so many validations without a better model; 0: never", least=0)
    fit_output_layers: bool = option(True, "at five steps and at the end, set the output layers to where the loss is "
                                           "least, by linear least squares")
    monomials: int = option(0, "in the end, cubic polynomials of so many terms in place of the fitting nets, found by "
                               "least squares, if their errors are smaller; 6000 for molecules with some 1,000 frames",
                            least=0)
    monomials_energy: float = option(1.0, "weight of a frame's energy in these least squares, beside one component of "
                                          "a force; 30 for crystals of many kinds", least=0, below=math.inf)
    monomials_runs: int = option(16, "runs of dynamics, at most four times so many, that look where polynomials fall "
                                     "below the nets and are taught what these say; 0: none", least=0)
    seed: int = option(1, "of weights, order of frames and split", least=0)
    device: str = option("cpu", "where to train, cpu or cuda")


@dataclass(frozen=True)
class MonitorConfig:
    """[monitor]: what a run shows of itself, beside its log and lcurve.csv."""

    plot: bool = option(True, "learning_curve.png, drawn anew while the run goes, where matplotlib is installed")
    report: bool = option(True, "report.html at the end: errors, worst frames, warnings and settings on one page")
    tensorboard: bool = option(False, "errors for TensorBoard in the folder tensorboard; needs tensorboard installed")


@dataclass(frozen=True)
class FittingConfig:
    """The whole input."""

    output: str = option("deeppot-fit", "folder for checkpoint, learning curve and model, from the current folder")
    init_model: str = option("", "model file to start from, whose shape and statistics are taken over; species that "
                                 "it lacks are added")
    model: ModelConfig = option(ModelConfig, "the model")
    data: DataConfig = option(DataConfig, "the data")
    loss: LossConfig = option(LossConfig, "what is minimised")
    learning_rate: LearningRateConfig = option(LearningRateConfig, "how fast")
    training: TrainingConfig = option(TrainingConfig, "how long")
    monitor: MonitorConfig = option(MonitorConfig, "what is shown")

    def __post_init__(self) -> None:
        check_ranges(self)
        _check(self)


def read_config(path: str | Path) -> FittingConfig:
    """Read a training input.

    Relative paths in ``data.train``, ``data.validation`` and ``init_model`` count from the folder of the input, so
    that it can be used from anywhere; ``output`` counts from the current folder.

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
    folder = os.path.dirname(path)
    train, validation = (tuple(_from_folder(folder, source) for source in sources)
                         for sources in (config.data.train, config.data.validation))
    beside = os.path.join(folder, config.init_model)
    return replace(config, data=replace(config.data, train=train, validation=validation),
                   init_model=beside if config.init_model and os.path.exists(beside) else config.init_model)


def _from_folder(folder: str, source: str) -> str:
    if source.startswith("~"):
        return source
    # The wildcards are those of the source: a folder may have brackets in its name.
    return os.path.join(glob.escape(folder) if glob.has_magic(source) else folder, source)


def _check(config: FittingConfig) -> None:
    rate = config.learning_rate
    if not rate.stop <= rate.start:
        raise ConfigError(f"expected learning_rate.stop <= start, got {rate.stop} and {rate.start}")
    for name, weights in (("data.source_weights", config.data.source_weights),
                          ("loss.species_weights", config.loss.species_weights)):
        wrong = [f"{key} = {value}" for key, value in weights.items() if not 0 <= value < math.inf]
        if wrong:
            raise ConfigError(f"expected finite weights >= 0 in {name}, got {wrong[0]}")
    unknown = unknown_species(config.loss.species_weights)
    if unknown:
        raise ConfigError(f"expected chemical symbols, or names like C(CHH), in loss.species_weights, got {unknown}")
