"""What an engine hands over: closest neighbours by species, row by row."""

import numpy as np
import torch

from ase_deeppot.potential.derivatives import forces, virials
from ase_deeppot.potential.sums import prediction, zero_sums


def none():
    return torch.zeros(0, dtype=torch.int64)


def test_closest_neighbours_of_atoms_become_those_of_species():
    sums = zero_sums(4, 3, torch.device("cpu"))
    inf = torch.inf
    rows = [[1.0, 2.0, inf], [0.9, 3.0, 5.0], [4.0, 1.5, inf], [0.8, 2.5, 6.0]]
    sums.closest.copy_(torch.tensor(rows, dtype=torch.float64))
    got = prediction(sums.flat([torch.tensor([0, 1, 3]), none(), torch.tensor([2])]), 4, 3).closest
    np.testing.assert_array_equal(got, [[0.8, 2.0, 5.0], [np.inf] * 3, [4.0, 1.5, np.inf]])


def test_of_no_atoms():
    got = prediction(zero_sums(0, 2, torch.device("cpu")).flat([none(), none()]), 0, 2)
    energies, forces, virials, closest = got
    assert (energies.shape, forces.shape, virials.shape) == ((0,), (0, 3), (0, 3, 3))
    np.testing.assert_array_equal(closest, np.full((2, 2), np.inf))


def test_what_pairs_add_is_what_derivatives_say():
    rng = np.random.default_rng(0)
    i, j = (torch.from_numpy(rng.integers(0, 5, 30)) for _ in range(2))
    gradient, vectors = (torch.from_numpy(rng.normal(size=(30, 3))) for _ in range(2))
    sums = zero_sums(5, 1, torch.device("cpu"))
    for part in (slice(0, 11), slice(11, 30)):
        sums.add_gradient(gradient[part], i[part], j[part], vectors[part])
    torch.testing.assert_close(sums.forces, forces(gradient, i, j, 5))
    torch.testing.assert_close(sums.virials, virials(gradient, vectors, j, 5))
