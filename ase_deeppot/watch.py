"""Warnings of what a model is not made for: structures outside its training data, energies that jump."""

import warnings
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ase_deeppot.interop.slots import overfull
from ase_deeppot.neighbors import Pairs
from ase_deeppot.potential.archive import Model
from ase_deeppot.potential.card import ModelCard, discontinuity
from ase_deeppot.potential.config import LocalFrameConfig
from ase_deeppot.potential.domain import Limits, extrapolation, limits
from ase_deeppot.potential.local_frame import LocalFrames


class DomainWarning(UserWarning):
    """Atoms are closer, or have more neighbours, than in the training data: the model extrapolates."""


class DiscontinuityWarning(UserWarning):
    """The model's energy is not continuous: its cutoff is sharp, and its neighbours are sorted."""


class _Watched(NamedTuple):
    card: ModelCard
    limits: Limits
    frames: LocalFrames | None  # of a local-frame model


class Watch:
    """Warns of each kind of thing once, whichever of the models it is about."""

    def __init__(self, models: Sequence[Model]) -> None:
        self._models = [_Watched(model.card, limits(model), _frames_of(model)) for model in models]
        self._close = self._full = False  # whether that was said

    def attached(self, stacklevel: int) -> None:
        """Warn of a model that is not continuous."""
        _warn((_jumps(model.card) for model in self._models), DiscontinuityWarning, stacklevel + 1)

    def evaluated(self, types: np.ndarray, pairs: Pairs, closest: np.ndarray, stacklevel: int) -> None:
        """Warn of atoms that are much closer than any in the training data, or have more neighbours than slots."""
        if not self._close:
            self._close = _warn((extrapolation(model.card, closest, model.limits) for model in self._models),
                                DomainWarning, stacklevel + 1)
        if not self._full:
            self._full = _warn((_left_out(model, types, pairs) for model in self._models), DomainWarning,
                               stacklevel + 1)


def _warn(texts: Iterable[str | None], category: type[Warning], stacklevel: int) -> bool:
    """Say the first thing that there is to say, and whether there was one."""
    text = next(filter(None, texts), "")
    if text:
        warnings.warn(text, category, stacklevel=stacklevel + 1)
    return bool(text)


def _frames_of(model: Model) -> LocalFrames | None:
    geometry = model.module.descriptor.geometry()
    return geometry if isinstance(geometry, LocalFrames) else None


def _jumps(card: ModelCard) -> str:
    if not isinstance(card.config.descriptor, LocalFrameConfig):
        return ""
    return (f"a local-frame model is not continuous: {discontinuity(card)}, and also where neighbours change their "
            "order; use a smooth model (DeepPot-SE) for NVE dynamics")


def _left_out(model: _Watched, types: np.ndarray, pairs: Pairs) -> str | None:
    """Of neighbours without a slot, here or in the model's own program."""
    if model.frames is None:
        return overfull(model.card, types, pairs)
    without = model.frames.left_out(types, pairs)
    return (f"{without} of {len(pairs.i)} neighbours have no slot (sel_a + sel_r) in this model: the farthest of each "
            "atom are left out; the structure is denser than the training data") if without else None
