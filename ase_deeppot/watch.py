"""Warnings of what a model is not made for: structures outside its training data, energies that jump."""

import warnings
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ase_deeppot.interop.slots import overfull
from ase_deeppot.neighbors import Pairs
from ase_deeppot.potential.archive import Model
from ase_deeppot.potential.card import ModelCard, discontinuity
from ase_deeppot.potential.committee import order_of
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
    nearest: np.ndarray  # [T, T] A, the limits' distances in the order of the first model's types
    frames: LocalFrames | None  # of a local-frame model
    order: np.ndarray  # [T], its index of each of the first model's types


class Watch:
    """Warns of each kind of thing once, whichever of the models it is about."""

    def __init__(self, models: Sequence[Model]) -> None:
        self._models = [_watched(model, order_of(models[0].card, model.card)) for model in models]
        self._close = self._full = False  # whether that was said

    def attached(self, stacklevel: int) -> None:
        """Warn of a model that is not continuous."""
        text = _first(_jumps(model.card) for model in self._models)
        if text:
            warnings.warn(text, DiscontinuityWarning, stacklevel=stacklevel + 1)

    def evaluated(self, types: np.ndarray, pairs: Pairs, closest: np.ndarray, stacklevel: int) -> None:
        """Warn of atoms that are much closer than any in the training data, or have more neighbours than slots."""
        texts = []
        if not self._close:
            texts.append(_first(_too_close(model, closest) for model in self._models))
            self._close = bool(texts[-1])
        if not self._full:
            texts.append(_first(_left_out(model, types, pairs) for model in self._models))
            self._full = bool(texts[-1])
        for text in filter(None, texts):  # which may be errors: they come last
            warnings.warn(text, DomainWarning, stacklevel=stacklevel + 1)


def _first(texts: Iterable[str | None]) -> str:
    """The first thing that there is to say."""
    return next(filter(None, texts), "")


def _watched(model: Model, order: np.ndarray) -> _Watched:
    within = limits(model)
    return _Watched(model.card, within, within.distances[np.ix_(order, order)], _frames_of(model), order)


def _frames_of(model: Model) -> LocalFrames | None:
    geometry = model.module.descriptor.geometry()
    return geometry if isinstance(geometry, LocalFrames) else None


def _jumps(card: ModelCard) -> str:
    if not isinstance(card.config.descriptor, LocalFrameConfig):
        return ""
    return (f"a local-frame model is not continuous: {discontinuity(card)}, and also where neighbours change their "
            "order; use a smooth model (DeepPot-SE) for NVE dynamics")


def _too_close(model: _Watched, closest: np.ndarray) -> str:
    if not (closest < model.nearest).any():
        return ""
    own = np.empty_like(closest)
    own[np.ix_(model.order, model.order)] = closest
    return extrapolation(model.card, own, model.limits)


def _left_out(model: _Watched, types: np.ndarray, pairs: Pairs) -> str | None:
    """Of neighbours without a slot, here or in the model's own program."""
    own = model.order[types]
    if model.frames is None:
        return overfull(model.card, own, pairs)
    without = model.frames.left_out(own, pairs)
    return (f"{without} of {len(pairs.i)} neighbours have no slot (sel_a + sel_r) in this model: the farthest of each "
            "atom are left out; the structure is denser than the training data") if without else None
