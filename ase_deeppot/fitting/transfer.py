"""Starting from another model: its nets, statistics and species taken over, species that it lacks added."""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from ase_deeppot.errors import ConfigError
from ase_deeppot.fitting.statistics import SERIES_REACH, Environments, normalise
from ase_deeppot.potential.archive import Model
from ase_deeppot.potential.config import ModelConfig
from ase_deeppot.potential.deep_potential import DeepPotential
from ase_deeppot.potential.hybrid import smooth_parts
from ase_deeppot.potential.local_frame import LocalFrameDescriptor
from ase_deeppot.potential.smooth import SmoothDescriptor


def shape_from(initial: ModelConfig, asked: ModelConfig, species: tuple[str, ...]) -> ModelConfig:
    """The shape of the initial model, with the species that it lacks after its own.

    Raises
    ------
    ConfigError
        If an option of ``[model]`` was set to something else than the initial model has, or there are new species and
        it has polynomials.
    """
    new = tuple(name for name in asked.type_map or species if name not in initial.type_map)
    if new and initial.fitting_net.polynomial:
        raise ConfigError("expected no new species with polynomials, whose weights alone change, got "
                          f"{', '.join(new)}: start from nets.pth, the model of the same training with nets, or from "
                          "none")
    type_map = initial.type_map + new
    _check_agree(initial, replace(asked, type_map=()), "model")
    return replace(initial, type_map=type_map)


def take_over(model: DeepPotential, initial: Model, type_map: tuple[str, ...],
              environments: Sequence[Environments]) -> None:
    """Make the model the same function as the initial one for the species that it knows.

    The nets and statistics of species that are new come from their own start and from the environments. They
    add nothing to ``sel``, by whose sum every environment is divided, so that those of known species are not
    scaled anew. Where the frames have shorter distances, the embedding is read over a wider range, and the function
    is the same to the accuracy of the series.

    Parameters
    ----------
    model : DeepPotential
        Of the shape of :func:`shape_from`, freshly made.
    type_map : tuple of str
        Its species, first those of the initial model.
    environments : sequence of Environments
        Of the frames that will be trained on, as each part of the descriptor sees them.
    """
    known = len(initial.card.type_map)
    if isinstance(model.descriptor, LocalFrameDescriptor):
        if len(type_map) != known:
            raise ConfigError("expected no new species in a local-frame model, whose slots belong to its species, got "
                              f"{', '.join(type_map[known:])}")
        model.load_state_dict(initial.module.state_dict())
        return
    _copy(model.fitting_net, initial.module.fitting_net, len(type_map), known)
    assert not isinstance(initial.module.descriptor, LocalFrameDescriptor)  # of the same shape
    sources = smooth_parts(initial.module.descriptor)
    for part, source, own in zip(smooth_parts(model.descriptor), sources, environments, strict=True):
        sel = np.zeros(len(type_map))
        sel[:known] = source.sel.cpu().numpy()
        normalise(part, own, sel)
        _copy(part, source, len(type_map), known)
        _widen(part, own)


def _widen(descriptor: SmoothDescriptor, environments: Environments) -> None:
    """Read the nets, which are the same, over a wider range if need be."""
    closest = environments.smallest.min()
    if np.isfinite(closest):
        descriptor.s_max.fill_(max(float(descriptor.s_max), 1.0 / (SERIES_REACH * closest)))


def _copy(module: nn.Module, source: nn.Module, n_types: int, known: int) -> None:
    """Take over all numbers but those of new species."""
    target = module.state_dict()
    with torch.no_grad():
        for name, values in source.state_dict().items():
            if target[name].shape == values.shape:
                target[name].copy_(values)
            elif name.startswith("embedding.") and len(target[name]) == n_types**2:  # of pairs
                _copy_pairs(target[name], values, n_types, known)
            else:  # by species, the known ones first
                target[name][:known].copy_(values)


def _copy_pairs(target: torch.Tensor, source: torch.Tensor, n_types: int, known: int) -> None:
    """Nets of pairs of species, [T * T, ...]."""
    target.view(n_types, n_types, *target.shape[1:])[:known, :known].copy_(
        source.view(known, known, *source.shape[1:]))


def _check_agree(initial: Any, asked: Any, name: str) -> None:
    """Options that were set, which is what differs from the default, must be those of the initial model."""
    default = type(asked)()
    if type(asked) is not type(initial) and asked == default:
        return
    for field in fields(asked):
        here, there, usual = (getattr(config, field.name) for config in (asked, initial, default))
        if is_dataclass(here):
            _check_agree(there, here, f"{name}.{field.name}")
        elif here not in (usual, there):
            raise ConfigError(f"expected {name}.{field.name} = {there!r}, as init_model has it, got {here!r}: leave it "
                              "out")
