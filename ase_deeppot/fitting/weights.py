"""How much each frame, source and species counts in the loss."""

import os
from collections.abc import Mapping
from fnmatch import fnmatchcase

import numpy as np

from ase_deeppot.errors import ConfigError, DataError
from ase_deeppot.fitting.stored import AnyFrames
from ase_deeppot.species import element_of


def frame_weights(frames: AnyFrames, by_source: Mapping[str, float]) -> np.ndarray:
    """Weight of each frame, [F]: its own times that of its source, divided by their mean over the frames.

    Parameters
    ----------
    by_source : mapping
        Weights by the name of a source, with or without its folder, or by a pattern with wildcards; the first
        that matches counts.

    Raises
    ------
    ConfigError
        If a name matches no source.
    DataError
        If no weight is above zero.
    """
    unused = [key for key in by_source if not any(_matches(name, key) for name in frames.names)]
    if unused:
        raise ConfigError(f"expected data.source_weights to name training sources ({', '.join(frames.names)}), "
                          f"got {unused[0]!r}")
    of_source = np.array([next((weight for key, weight in by_source.items() if _matches(name, key)), 1.0)
                          for name in frames.names])
    weights = frames.weights * of_source[frames.source]
    if not weights.any():
        raise DataError("expected a weight above zero for at least one training frame, got zero for all")
    return weights / weights.mean()


def species_weights(type_map: tuple[str, ...], weights: Mapping[str, float]) -> np.ndarray:
    """Weight of the force errors of each species, [T]: its own, else that of its element.

    Raises
    ------
    ConfigError
        If a species is not in the type map.
    """
    unknown = [name for name in weights if name not in (*type_map, *map(element_of, type_map))]
    if unknown:
        raise ConfigError(f"expected elements or species of the model ({', '.join(type_map)}) in "
                          f"loss.species_weights, got {unknown[0]}")
    return np.array([weights.get(name, weights.get(element_of(name), 1.0)) for name in type_map])


def _matches(source: str, key: str) -> bool:
    return any(name == key or fnmatchcase(name, key) for name in (source, os.path.basename(source)))
