"""Whether a structure is outside the training data, as far as distances tell."""

from typing import NamedTuple

import numpy as np

from ase_deeppot.potential.archive import Model
from ase_deeppot.potential.card import ModelCard, pair_name
from ase_deeppot.potential.hybrid import smooth_parts
from ase_deeppot.potential.local_frame import LocalFrameDescriptor
from ase_deeppot.potential.pairwise import PairwiseDescriptor

CLOSE = 0.9  # of the smallest trained distance; thermal motion goes a little below it harmlessly


class Limits(NamedTuple):
    """Distances below which a model extrapolates."""

    distances: np.ndarray  # [T, T] A, between atoms of two species; zero if nothing is known
    reach: float  # A, where the series of the embedding end; zero if there are none


def limits(model: Model) -> Limits:
    """What the training data covered; of an imported model, of which that is not known, what its series cover."""
    card, descriptor = model.card, model.module.descriptor
    known = card.domain.smallest_distance
    trained = CLOSE * np.array([[known.get(pair_name(a, b), 0.0) for a in card.type_map] for b in card.type_map])
    parts = [] if isinstance(descriptor, LocalFrameDescriptor) else smooth_parts(descriptor)
    ends = max((part.reach for part in parts if not isinstance(part, PairwiseDescriptor)), default=0.0)
    return Limits(np.maximum(trained, descriptor.reach) if "imported" in card.training else trained, ends)


def extrapolation(card: ModelCard, closest: np.ndarray, within: Limits) -> str:
    """What to say of the smallest distances [T, T] in a structure, A; empty if none is below the limits."""
    outside = np.argwhere(closest < within.distances)
    if len(outside) == 0:
        return ""
    t, u = outside[0]
    name, end = pair_name(card.type_map[t], card.type_map[u]), within.reach
    known = card.domain.smallest_distance.get(name)
    trained = "" if known is None else f"the smallest in the training data is {known:.2f} A, so "
    more = f"; below {end:.2f} A its series have ended and go on as straight lines" if closest[t, u] < end else ""
    return f"{name} distance of {closest[t, u]:.2f} A; {trained}energies and forces are extrapolated{more}"
