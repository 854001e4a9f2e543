"""Moments against a loop over pairs, and their transpose against the derivative of that loop."""

import numpy as np
import oracles
import pytest
import torch
from builders import random_pairs
from hypothesis import given
from hypothesis import strategies as st

from ase_deeppot.potential.moments import Basis, blocks, moments, pair_gradient

BASIS = Basis(order=7, s_max=1.0, bend=0.0, rcut_smth=1.5, rcut=4.0, l_max=3)
N_TYPES = 2

counts = st.lists(st.integers(0, 5), min_size=1, max_size=5)
lengths = st.sampled_from([(1.2, 4.5), (0.6, 1.2)])  # the second range is closer than the series reaches
bends = st.sampled_from([0.0, 1.5])


def parts_of(pairs, dtype=torch.float64, bend=0.0):
    arrays = map(torch.from_numpy, (pairs.i, pairs.types_j, pairs.vectors))
    return blocks(BASIS._replace(bend=bend), len(pairs.types), N_TYPES, *arrays, dtype)


@given(counts=counts, seed=st.integers(0, 1000), lengths=lengths, bend=bends)
def test_moments_are_the_sums_of_their_definition(counts, seed, lengths, bend):
    pairs = random_pairs(counts, seed=seed, lengths=lengths)
    expected = oracles.moments(len(counts), N_TYPES, pairs.i, pairs.types_j, pairs.vectors,
                               *BASIS._replace(bend=bend))
    got = moments(parts_of(pairs, bend=bend)).numpy()
    assert got.shape == (len(counts), 16, N_TYPES, BASIS.order)
    np.testing.assert_allclose(got, expected, atol=1e-11)


@given(counts=counts, seed=st.integers(0, 1000), lengths=lengths, bend=bends)
def test_pair_gradient_is_the_derivative_of_the_moments(counts, seed, lengths, bend):
    pairs = random_pairs(counts, seed=seed, lengths=lengths)
    k = np.random.default_rng(seed).normal(size=(len(counts), 16, N_TYPES, BASIS.order))
    expected = oracles.pair_gradient(k, pairs.i, pairs.types_j, pairs.vectors,
                                     *BASIS._replace(bend=bend))
    got = pair_gradient(parts_of(pairs, bend=bend), torch.from_numpy(k), len(pairs.i)).numpy()
    np.testing.assert_allclose(got, expected, atol=1e-10)


def test_pairs_beyond_the_cutoff_contribute_nothing():
    pairs = random_pairs([4, 3], lengths=(4.0, 9.0))
    parts = parts_of(pairs)
    np.testing.assert_array_equal(moments(parts), 0.0)
    k = torch.ones(2, 16, N_TYPES, BASIS.order, dtype=torch.float64)
    np.testing.assert_array_equal(pair_gradient(parts, k, 7), 0.0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_sums_have_the_precision_of_the_nets_and_gradients_double(dtype):
    parts = parts_of(random_pairs([3, 2]), dtype)
    p = moments(parts)
    assert p.dtype == dtype
    gradient = pair_gradient(parts, p, 5)
    assert gradient.dtype == torch.float64
    exact = parts_of(random_pairs([3, 2]))
    torch.testing.assert_close(p.double(), moments(exact), rtol=0, atol=1e-5)
    torch.testing.assert_close(gradient, pair_gradient(exact, moments(exact), 5), rtol=0, atol=1e-4)
