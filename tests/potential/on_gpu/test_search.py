"""The search in bins against k-d trees, on whatever device there is."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ase_deeppot.neighbors import VerletList, neighbor_pairs
from ase_deeppot.potential.on_gpu import search as module
from ase_deeppot.potential.on_gpu.cells import bins
from ase_deeppot.potential.on_gpu.pairs import backend, within_cutoff
from ase_deeppot.potential.on_gpu.search import search

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
ALL, NONE = np.ones(3, bool), np.zeros(3, bool)
TRICLINIC = np.array([[14.0, 0.2, -0.4], [4.7, 12.0, 0.3], [-3.1, 2.9, 16.0]])


def scattered(atoms, cell, seed, outside=0.0):
    return np.random.default_rng(seed).uniform(-outside, 1 + outside, (atoms, 3)) @ cell


def in_order(i, j, vectors):
    """Rows of pairs in an order that rounding errors leave alone."""
    rows = np.c_[i, j, np.round(vectors, 6)]
    return rows[np.lexsort(rows.T[::-1])]


def assert_same_pairs(positions, cell, pbc, cutoff):
    candidates = search(positions, cell, pbc, cutoff, DEVICE)
    got = within_cutoff(candidates, positions, cell, cutoff)
    expected = neighbor_pairs(positions, cell, pbc, cutoff)
    i, j, vectors = (part.cpu().numpy() for part in got)
    assert (np.diff(i) >= 0).all()
    np.testing.assert_allclose(in_order(i, j, vectors), in_order(*expected[:3]), rtol=0, atol=2e-6)
    return len(i)


@given(pbc=st.tuples(*[st.booleans()] * 3), seed=st.integers(0, 99), atoms=st.integers(1, 120),
       cutoff=st.floats(0.5, 5.0), outside=st.sampled_from([0.0, 0.4, 3.0]))
def test_the_pairs_of_trees(pbc, seed, atoms, cutoff, outside):
    assert_same_pairs(scattered(atoms, TRICLINIC, seed, outside), TRICLINIC, np.array(pbc), cutoff)


@pytest.mark.parametrize("pbc", [ALL, NONE, np.array([True, True, False])])
def test_no_atoms_one_and_two_far_from_each_other(pbc):
    cell = np.diag([30.0, 30.0, 30.0])
    assert assert_same_pairs(np.zeros((0, 3)), cell, pbc, 4.0) == 0
    assert assert_same_pairs(np.zeros((1, 3)), cell, pbc, 4.0) == 0
    assert assert_same_pairs(np.array([[0.0, 0, 0], [1.0, 0, 1e7]]), cell, pbc, 4.0) == 0


def test_a_molecule_without_a_cell_flat_and_dense():
    positions = scattered(40, np.diag([3.0, 2.0, 0.0]), 0)
    assert assert_same_pairs(positions, np.zeros((3, 3)), NONE, 2.0) > 40


def test_small_cells_are_left_to_trees():
    cell = np.diag([6.0, 6.0, 6.0])
    assert bins(scattered(9, cell, 0), cell, ALL, 4.0, DEVICE) is None
    assert assert_same_pairs(scattered(9, cell, 0), cell, ALL, 4.0) > 50


def test_much_empty_space_needs_few_bins():
    positions = np.concatenate([scattered(20, np.eye(3) * 4, 0), scattered(20, np.eye(3) * 4, 1) + 1e6])
    found = bins(positions, np.zeros((3, 3)), NONE, 3.0, DEVICE)
    assert int(found.counts.prod()) <= 4 * 40 + 27
    assert assert_same_pairs(positions, np.zeros((3, 3)), NONE, 3.0) > 100


@pytest.mark.parametrize("distances", [1, 500, 10**6])
def test_groups_give_the_pairs_of_one_piece(monkeypatch, distances):
    positions = scattered(60, TRICLINIC, 5, 0.5)
    whole = search(positions, TRICLINIC, ALL, 4.0, DEVICE)
    monkeypatch.setattr(module, "DISTANCES", distances)
    for part, expected in zip(search(positions, TRICLINIC, ALL, 4.0, DEVICE), whole, strict=True):
        assert torch.equal(part, expected)


def test_positions_that_are_not_finite():
    with pytest.raises(ValueError, match="finite positions"):
        search(np.full((2, 3), np.nan), TRICLINIC, ALL, 3.0, DEVICE)


def test_a_list_follows_moving_atoms_and_cells():
    rng, verlet = np.random.default_rng(3), VerletList(3.0, 0.8, backend(DEVICE))
    positions, cell = scattered(80, TRICLINIC, 3), TRICLINIC.copy()
    for _ in range(25):
        positions += rng.normal(scale=0.06, size=positions.shape)
        strain = np.eye(3) + rng.normal(scale=0.002, size=(3, 3))
        cell, positions = cell @ strain, positions @ strain
        i, j, vectors = (part.cpu().numpy() for part in verlet.update(positions, cell, ALL))
        expected = neighbor_pairs(positions, cell, ALL, 3.0)
        np.testing.assert_allclose(in_order(i, j, vectors), in_order(*expected[:3]), rtol=0, atol=2e-6)
    assert 2 <= verlet.builds < 20
