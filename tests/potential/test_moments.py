"""Moments against a loop over pairs; their transpose against autograd; the compiled loops against both."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial import chebyshev

from ase_deeppot.potential.evaluation import compiled_kernels
from ase_deeppot.potential.moments import Basis, blocks, moments, pair_gradient

BASIS = Basis(order=7, s_max=1.0, rcut_smth=1.5, rcut=4.0)
N_TYPES = 2


def pairs(counts, seed, shortest=1.2):
    """Random pairs of len(counts) centres: i, types_j, vectors; some beyond the cutoff."""
    rng = np.random.default_rng(seed)
    i = np.repeat(np.arange(len(counts)), counts)
    directions = rng.normal(size=(len(i), 3))
    lengths = rng.uniform(shortest, 4.5, len(i))
    vectors = directions / np.linalg.norm(directions, axis=1)[:, None] * lengths[:, None]
    return i, rng.integers(0, N_TYPES, len(i)), vectors


def radial(r):
    """B_l(r), [L], from the definition."""
    u = np.clip((r - BASIS.rcut_smth) / (BASIS.rcut - BASIS.rcut_smth), 0, 1)
    s = (u**3 * (-6 * u**2 + 15 * u - 10) + 1) / r
    return s * chebyshev.chebvander(2 * s / BASIS.s_max - 1, BASIS.order - 1).reshape(-1)


def looped(n, i, types_j, vectors):
    p = np.zeros((n, N_TYPES, BASIS.order, 4))
    for centre, species, v in zip(i, types_j, vectors, strict=True):
        r = np.linalg.norm(v)
        p[centre, species] += radial(r)[:, None] * np.array([1.0, *(v / r)])
    return p


def in_torch(n, i, types_j, vectors, dtype=torch.float64):
    return blocks(BASIS, n, N_TYPES, *map(torch.from_numpy, (i, types_j, vectors)), dtype)


counts = st.lists(st.integers(0, 5), min_size=1, max_size=5)


@given(counts=counts, seed=st.integers(0, 1000))
def test_moments_are_the_sums_of_their_definition(counts, seed):
    arrays = pairs(counts, seed)
    got = moments(in_torch(len(counts), *arrays)).numpy()
    np.testing.assert_allclose(got, looped(len(counts), *arrays), atol=1e-12)


@given(counts=counts, seed=st.integers(0, 1000))
def test_pair_gradient_is_the_derivative_of_the_moments(counts, seed):
    """Also where pairs are closer than the series reaches: energy and force go on together."""
    n, (i, types_j, vectors) = len(counts), pairs(counts, seed, shortest=0.6)
    k = torch.from_numpy(np.random.default_rng(seed).normal(size=(n, N_TYPES, BASIS.order, 4)))
    got = pair_gradient(in_torch(n, i, types_j, vectors), k, len(i)).numpy()

    def energy(v):
        return float((moments(in_torch(n, i, types_j, v)) * k).sum())

    step = 1e-5
    for e in range(len(i)):
        for axis in range(3):
            shift = np.zeros_like(vectors)
            shift[e, axis] = step
            slope = (energy(vectors + shift) - energy(vectors - shift)) / (2 * step)
            assert abs(got[e, axis] - slope) < 1e-6 * (1 + abs(slope))


@pytest.mark.skipif(compiled_kernels() is None, reason="needs numba")
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 2e-5)])
@given(counts=counts, seed=st.integers(0, 1000), shortest=st.sampled_from([0.6, 1.2]))
def test_compiled_loops_are_those_in_torch(dtype, tolerance, counts, seed, shortest):
    n, (i, types_j, vectors) = len(counts), pairs(counts, seed, shortest)
    kernels, first = compiled_kernels(), np.concatenate([[0], np.cumsum(counts)])
    shape = (BASIS.s_max, BASIS.rcut_smth, BASIS.rcut)
    p = np.empty((n, N_TYPES, BASIS.order, 4), dtype)
    kernels.moments(first, types_j, vectors, shape, p)
    parts = in_torch(n, i, types_j, vectors, getattr(torch, dtype))
    np.testing.assert_allclose(p, moments(parts), rtol=tolerance, atol=10 * tolerance)
    k = np.random.default_rng(seed).normal(size=p.shape).astype(dtype)
    gradient = np.empty_like(vectors)
    kernels.pair_gradient(first, types_j, vectors, shape, k, gradient)
    expected = pair_gradient(parts, torch.from_numpy(k), len(i)).numpy()
    np.testing.assert_allclose(gradient, expected, rtol=tolerance, atol=100 * tolerance)


@pytest.mark.skipif(compiled_kernels() is None, reason="needs numba")
def test_compiled_loops_let_nan_through():
    _, types_j, vectors = pairs([3], 0)
    vectors[1] = np.nan
    p = np.empty((1, N_TYPES, BASIS.order, 4))
    compiled_kernels().moments(np.array([0, 3]), types_j, vectors, BASIS[1:], p)
    assert np.isnan(p[0, types_j[1]]).any()
