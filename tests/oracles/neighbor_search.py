"""Neighbours, by trying every image."""

import itertools
import math
from typing import NamedTuple

import numpy as np


class Neighbor(NamedTuple):
    j: int
    vector: np.ndarray  # [3]


def neighbors(positions, cell, pbc, cutoff) -> list[list[Neighbor]]:
    """Neighbours of each atom, by trying every image that could be near enough."""
    positions, cell = np.asarray(positions, float).reshape(-1, 3), np.asarray(cell, float)
    periodic = [k for k in range(3) if pbc[k]]
    repeats = [0, 0, 0]
    for k in periodic:
        others = [cell[m] for m in periodic if m != k]
        height = cell[k] - _projection(cell[k], others)
        normal = height / (height @ height)  # fractional coordinate along k = position @ normal
        along = positions @ normal
        spread = np.ptp(along) if len(along) else 0.0
        repeats[k] = math.ceil(cutoff * np.linalg.norm(normal) + spread)
    found: list[list[Neighbor]] = [[] for _ in positions]
    for shift in itertools.product(*(range(-n, n + 1) for n in repeats)):
        offset = sum((shift[k] * cell[k] for k in periodic), np.zeros(3))
        for i, j in itertools.product(range(len(positions)), repeat=2):
            vector = positions[j] - positions[i] + offset
            if np.linalg.norm(vector) < cutoff and (i != j or any(shift)):
                found[i].append(Neighbor(j, vector))
    return found


def _projection(vector, span):
    if not span:
        return np.zeros(3)
    basis = np.linalg.qr(np.array(span).T)[0]
    return basis @ (basis.T @ vector)


def length(vector):
    return np.sqrt(np.sum(vector * vector))


def nearest_first(mine: list[Neighbor]) -> list[Neighbor]:
    return sorted(mine, key=lambda n: length(n.vector.real))
