"""Several models as one: the mean of what they say, and how far they are apart.

Models that differ by the seed of their training differ most where they know least. Their mean

    E = (1/M) sum_m E_m,    F = (1/M) sum_m F_m

is a potential too, mostly with smaller errors than each of them, and their distance from it for each atom,
``(<|F_m - F|^2>)^(1/2)`` (Zhang, Lin, Wang, Car, E, Phys. Rev. Materials 3, 023804, 2019), tells where data to train on
are missing.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Optional, Tuple

import numpy as np

from ase_deeppot.errors import ModelFileError
from ase_deeppot.potential.archive import Model
from ase_deeppot.potential.card import ModelCard
from ase_deeppot.potential.config import FittingNetConfig
from ase_deeppot.potential.engine import Engine
from ase_deeppot.potential.prediction import Deviation, Prediction


class Member(NamedTuple):
    """A model that runs."""

    engine: Engine
    order: np.ndarray  # [T], its index of each of the first model's types


class Committee:
    """Engines of several models, or of one."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members

    def evaluate(self, types: np.ndarray, pairs: Any,
                 parameters: Optional[np.ndarray] = None) -> Tuple[Prediction, Optional[Deviation]]:
        """The mean of what the models say, and their deviation from it; of a single one there is none.

        As :class:`engine.Engine`; types are those of the first model.
        """
        found = [engine.evaluate(order[types], pairs, parameters=parameters) for engine, order in self._members]
        return (found[0], None) if len(found) == 1 else mean(found)


def together(models: Sequence[Model], ready: Callable[[Model], Engine]) -> Committee:
    """Engines of models that belong together.

    Raises
    ------
    ModelFileError
        If the models are not of the same elements, cutoff and parameters.
    """
    for number, model in enumerate(models[1:], start=2):
        _check_alike(models[0].card, model.card, number)
    return Committee([Member(ready(model), order_of(models[0].card, model.card)) for model in models])


def order_of(first: ModelCard, other: ModelCard) -> np.ndarray:
    """Index in another model of each of the first one's types, [T]."""
    return np.array([other.type_map.index(symbol) for symbol in first.type_map])


def mean(found: Sequence[Prediction]) -> Tuple[Prediction, Deviation]:
    """What several models say of a structure, taken together."""
    energies, forces, virials = (np.mean(parts, axis=0) for parts in (
        [one.energies for one in found], [one.forces for one in found], [one.virials for one in found]))
    squares = [np.square(one.forces - forces).sum(axis=1) for one in found]
    totals = [float(one.energies.sum()) for one in found]
    deviation = Deviation(float(np.std(totals)), np.sqrt(np.mean(squares, axis=0)))
    return Prediction(energies, forces, virials, found[0].closest), deviation


def _check_alike(first: ModelCard, other: ModelCard, number: int) -> None:
    for what, of in (("elements", lambda card: ", ".join(sorted(card.type_map))),
                     ("cutoff", lambda card: f"{card.rcut:g} A"),
                     ("parameters beside the structure", lambda card: _parameters(card.config.fitting_net))):
        if of(first) != of(other):
            raise ModelFileError(f"expected several models with the same {what}, got {of(first)} in the first and "
                                 f"{of(other)} in number {number}")


def _parameters(net: FittingNetConfig) -> str:
    default = f" (default {list(net.default_frame_parameters)})" if net.default_frame_parameters else ""
    return f"{net.frame_parameters} of the frame{default} and {net.atom_parameters} of an atom"
