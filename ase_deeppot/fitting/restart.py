"""Going on from a checkpoint is refused where anything would change the numbers."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from ase_deeppot.errors import ConfigError
from ase_deeppot.fitting.checkpoint import Checkpoint
from ase_deeppot.fitting.config import FittingConfig

# What changes no number of a step, and names of data, which are compared by content.
FREE = ("output", "init_model", "data.train", "data.validation", "data.memory", "training.checkpoint_every",
        "training.patience", "monitor.plot", "monitor.report", "monitor.tensorboard")


def check_same_run(checkpoint: Checkpoint, config: FittingConfig, hashes: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse other settings or data than those of the checkpoint; data are compared by content, not by name.

    Raises
    ------
    ConfigError
        With the names of what differs.
    """
    before, now = dict(_flat(asdict(checkpoint.config))), dict(_flat(asdict(config)))
    changed = [f"{key} (was {before.get(key)!r}, now {now.get(key)!r})" for key in {**now, **before}
               if key not in FREE and now.get(key) != before.get(key)]
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
