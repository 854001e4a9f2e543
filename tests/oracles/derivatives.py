"""Energies of a model of either kind, and derivatives to rounding or by finite differences."""

import numpy as np

from oracles.environment import moments
from oracles.local_frames import LocalFrame, local_frame_energies, local_frame_of
from oracles.neighbor_search import Neighbor, neighbors
from oracles.smooth import Parameters, atomic_energies, parameters_of


def total_energy(model, types, positions, cell, pbc) -> float:
    return float(energies_of(model, types, neighbors(positions, cell, pbc, model.card.rcut)).sum())


def energies_of(model, types, around: list[list[Neighbor]]):
    """E_i, [N], of a ``Model`` of either kind."""
    if model.card.config.descriptor.kind == "local_frame":
        return local_frame_energies(local_frame_of(model), types, around)
    return atomic_energies(parameters_of(model), types, around)


def forces_and_virial(p: Parameters | LocalFrame, types, around: list[list[Neighbor]]):
    """-dE/dr [N, 3] and -dE/dstrain [3, 3]."""
    energies = local_frame_energies if isinstance(p, LocalFrame) else atomic_energies

    def energy(change):  # of the vector from i to n
        moved = [[Neighbor(n.j, n.vector + change(i, n)) for n in mine] for i, mine in enumerate(around)]
        return energies(p, types, moved).sum()

    forces = complex_step(lambda x: -energy(lambda i, n: x[n.j] - x[i]), (len(types), 3))
    return forces, complex_step(lambda strain: -energy(lambda i, n: n.vector @ strain), (3, 3))


def pair_gradient(k, i, types_j, vectors, order: int, *shape: float):
    """dE/dv of each pair, [E, 3], from K = dE/dP [n, Y, T, L]."""
    def energy(e, dv):
        own = (i[e : e + 1], types_j[e : e + 1], vectors[e : e + 1] + dv)
        return (k * moments(len(k), k.shape[2], *own, order, *shape)).sum()

    parts = [complex_step(lambda dv, e=e: energy(e, dv), 3) for e in range(len(i))]
    return np.reshape(parts, (-1, 3))


def complex_step(function, shape, step=1e-30):
    """Derivative at zero of an analytic function of a real array, to rounding: Im f(i h) / h."""
    gradient = np.zeros(shape)
    for index in np.ndindex(gradient.shape):
        x = np.zeros(shape, complex)
        x[index] = 1j * step
        gradient[index] = function(x).imag / step
    return gradient


def central_difference(function, x, step=1e-4):
    """df/dx at the array x, to fourth order in the step; the dimensions of f, if it has any, come last."""
    x, slopes = np.asarray(x, float), []
    for index in np.ndindex(x.shape):
        def at(h, index=index):
            moved = x.copy()
            moved[index] += h
            return function(moved)
        slopes.append((8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step))
    return np.reshape(slopes, x.shape + np.shape(slopes[0] if slopes else 0.0))
