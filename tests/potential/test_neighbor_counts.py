"""Numbers of neighbours, against a count one by one."""

import numpy as np
import pytest
import torch
from builders import needs_numba, pairs_in, random_atoms, random_model, types_in

from ase_deeppot.neighbors import Pairs
from ase_deeppot.potential import neighbor_counts as module
from ase_deeppot.potential.neighbor_counts import neighbor_counts


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=needs_numba)])
def test_every_pair_counts_once(monkeypatch, compiled):
    monkeypatch.setattr(module, "compilable", lambda: compiled)
    model, atoms = random_model(), random_atoms(7)
    types, pairs = types_in(model, atoms), pairs_in(model, atoms)
    for cutoff in (None, 2.5):
        expected = np.zeros((7, 2), int)
        for i, j, vector in zip(*pairs[:3], strict=True):
            expected[i, types[j]] += cutoff is None or np.linalg.norm(vector) < cutoff
        np.testing.assert_array_equal(neighbor_counts(types, pairs, 2, cutoff), expected)
    assert 0 < expected.sum() < len(pairs.i)


def test_of_tensors_in_int32_as_a_gpu_has_them():
    model, atoms = random_model(), random_atoms(7)
    types, pairs = types_in(model, atoms), pairs_in(model, atoms)
    there = pairs._replace(i=torch.from_numpy(pairs.i).int(), j=torch.from_numpy(pairs.j).int(),
                           vectors=torch.from_numpy(pairs.vectors))
    for cutoff in (None, 2.5):
        expected = neighbor_counts(types, pairs, 2, cutoff)
        np.testing.assert_array_equal(neighbor_counts(types, there, 2, cutoff), expected)


def test_atoms_without_neighbours():
    none = np.zeros(0, int)
    pairs = Pairs(none, none, np.zeros((0, 3)), none, none)
    np.testing.assert_array_equal(neighbor_counts(np.array([0, 2]), pairs, 3), np.zeros((2, 3)))
