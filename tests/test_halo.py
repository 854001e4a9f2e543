"""The list for a part of a structure: against the search in the whole, and reused."""

from unittest import mock

import numpy as np
import pytest

from ase_deeppot.neighbors import HaloList, neighbor_pairs, search

ALONE = np.zeros((3, 3)), np.zeros(3, bool)


def scattered(atoms, seed):
    return np.random.default_rng(seed).uniform(0.0, 6.0, (atoms, 3))


def assert_complete(pairs, positions, centres, cutoff):
    """All pairs from the first atoms, in the order of the whole."""
    whole = neighbor_pairs(positions, *ALONE, cutoff)
    kept = whole.i < centres
    np.testing.assert_array_equal(np.c_[pairs.i, pairs.j, pairs.vectors],
                                  np.c_[whole.i, whole.j, whole.vectors][kept])


@pytest.mark.parametrize("skin", [0.0, 1.0])
@pytest.mark.parametrize(("atoms", "centres"), [(0, 0), (1, 1), (1, 0), (40, 0), (40, 1), (40, 17), (40, 40)])
def test_pairs_from_the_first_atoms(atoms, centres, skin):
    positions = scattered(atoms, seed=centres)
    assert_complete(HaloList(2.5, skin).update(positions, centres), positions, centres, 2.5)


def test_list_is_reused_and_stays_exact():
    rng, positions, cutoff = np.random.default_rng(3), scattered(60, seed=1), 2.5
    pairs = HaloList(cutoff, 1.0)
    with mock.patch("ase_deeppot.neighbors.halo.search_around", wraps=search.search_around) as searches:
        for _ in range(40):
            positions = positions + rng.normal(scale=0.05, size=positions.shape)
            assert_complete(pairs.update(positions, 25), positions, 25, cutoff)
    assert 1 < searches.call_count < 20


@pytest.mark.parametrize("change", [lambda x: (x[::-1].copy(), 25), lambda x: (x, 24), lambda x: (x[1:], 25),
                                    lambda x: (np.roll(x, 1, axis=0), 25)], ids=["order", "fewer", "left", "moved on"])
def test_list_notices_other_atoms(change):
    pairs, positions = HaloList(2.5, 1.0), scattered(60, seed=2)
    pairs.update(positions, 25)
    other, centres = change(positions)
    assert_complete(pairs.update(other, centres), other, centres, 2.5)


def test_positions_that_are_not_finite():
    pairs, positions = HaloList(2.5, 1.0), scattered(10, seed=2)
    pairs.update(positions, 5)
    positions[7, 1] = np.nan
    with pytest.raises(ValueError, match="expected finite positions, got nan"):
        pairs.update(positions, 5)
