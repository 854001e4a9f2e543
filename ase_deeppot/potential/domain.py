"""Whether a structure is outside the training data, as far as distances tell."""

import numpy as np

from ase_deeppot.potential.card import ModelCard, pair_name

CLOSE = 0.9  # of the smallest trained distance; thermal motion goes a little below it harmlessly


def too_close(card: ModelCard) -> np.ndarray:
    """Distances [T, T] between atoms of two species below which the model extrapolates, A; zero if nothing is known."""
    known = card.domain.smallest_distance
    return CLOSE * np.array([[known.get(pair_name(a, b), 0.0) for a in card.type_map] for b in card.type_map])


def extrapolation(card: ModelCard, closest: np.ndarray, limits: np.ndarray) -> str:
    """What to say of the smallest distances [T, T] in a structure; empty if none is below the limits [T, T], A."""
    outside = np.argwhere(closest < limits)
    if len(outside) == 0:
        return ""
    t, u = outside[0]
    name, end = pair_name(card.type_map[t], card.type_map[u]), card.series.get("reach", 0.0)
    more = f"; below {end:.2f} A its series have ended and go on as straight lines" if closest[t, u] < end else ""
    return (f"{name} distance of {closest[t, u]:.2f} A; the smallest in the training data is "
            f"{card.domain.smallest_distance[name]:.2f} A, so energies and forces are extrapolated{more}")
