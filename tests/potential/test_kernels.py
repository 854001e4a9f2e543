"""The compiled loops over pairs against loops in plain NumPy, and their derivatives."""

import numpy as np
import oracles
import pytest
from builders import random_pairs
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("numba", reason="the loops are compiled with numba")

from ase_deeppot.potential import kernels

S_MAX, BEND, RCUT_SMTH, RCUT = SHAPE = (1.0, 0.0, 1.5, 4.0)
BENT = (S_MAX, 1.5, RCUT_SMTH, RCUT)
WIDTH, N_TYPES = kernels.WIDTH, 2
TOLERANCE = {"float64": 1e-12, "float32": 2e-5}  # relative to the largest number

few = st.integers(0, 5)
counts = st.lists(st.one_of(few, few, st.integers(WIDTH - 1, 2 * WIDTH + 2)), min_size=1, max_size=4)
lengths = st.sampled_from([(1.2, 4.5), (0.6, 1.2), (0.8, 3.0)])  # the series reaches down to 1 A
orders = st.sampled_from([4, 8, 12])
l_maxes = st.integers(1, 6)
shapes = st.sampled_from([SHAPE, BENT])
dtypes = pytest.mark.parametrize("dtype", TOLERANCE)


def dirty(blocks):
    """The same room as if it had been used for something else."""
    for array, garbage in zip(blocks[:-1], (-7, -7, True, -7, np.nan), strict=True):
        array[:] = garbage
    return blocks


def gathered(pairs, dtype, centres=None, room=None, l_max=3, shape=SHAPE):
    """Blocks of the centres, by default all of them in order, and the smallest distances."""
    centres = np.arange(len(pairs.types)) if centres is None else np.asarray(centres)
    own = int((pairs.first[centres + 1] - pairs.first[centres]).sum())
    room = dirty(kernels.new_blocks(len(centres) * N_TYPES, own, np.dtype(dtype), l_max) if room is None else room)
    closest = np.full(N_TYPES, np.inf)
    kernels.gather(centres, pairs.first, pairs.types, pairs.j, pairs.vectors, shape, closest, room)
    return room, closest


def moments(blocks, n, order, dtype):
    p = np.full((n, (blocks.l_max + 1) ** 2, N_TYPES, order), np.nan, dtype)
    kernels.moments(blocks, p)
    return p


def random_k(n, order, dtype, seed=0, l_max=3):
    return np.random.default_rng(seed).normal(size=(n, (l_max + 1) ** 2, N_TYPES, order)).astype(dtype)


def gradients(blocks, k, n_pairs, shape=SHAPE):
    """dE/dv of each pair: as if each had a neighbour of its own, whose force is minus that."""
    n = len(k)
    forces, virials = np.zeros((n + n_pairs, 3)), np.zeros((n + n_pairs, 3, 3))
    kernels.forces_and_virials(blocks, shape, k, np.arange(n), n + np.arange(n_pairs), np.zeros((n_pairs, 3)), forces,
                               virials)
    return -forces[n:]


def close(got, expected, dtype):
    scale = max(1.0, abs(expected).max(initial=0.0))
    np.testing.assert_allclose(got / scale, expected / scale, rtol=0, atol=TOLERANCE[dtype])


def expected_moments(pairs, order, l_max=3, shape=SHAPE):
    return oracles.moments(len(pairs.types), N_TYPES, pairs.i, pairs.types_j, pairs.vectors, order, *shape, l_max)


@dtypes
@given(counts=counts, seed=st.integers(0, 1000), lengths=lengths, order=orders, l_max=l_maxes,
       shape=shapes)
def test_moments_are_sums_over_pairs(dtype, counts, seed, lengths, order, l_max, shape):
    pairs = random_pairs(counts, seed=seed, lengths=lengths)
    blocks, _ = gathered(pairs, dtype, l_max=l_max, shape=shape)
    close(moments(blocks, len(counts), order, dtype), expected_moments(pairs, order, l_max, shape), dtype)


@dtypes
@given(counts=st.lists(few, min_size=1, max_size=4), seed=st.integers(0, 1000), lengths=lengths, order=orders,
       l_max=l_maxes, shape=shapes)
def test_pair_gradient_is_the_derivative_of_the_moments(dtype, counts, seed, lengths, order, l_max, shape):
    pairs, k = random_pairs(counts, seed=seed, lengths=lengths), random_k(len(counts), order, dtype, seed, l_max)
    if shape[1] > 0:
        k[..., -1] = 0  # as of a series in such a variable
    expected = oracles.pair_gradient(k.astype(float), pairs.i, pairs.types_j, pairs.vectors, order, *shape, l_max)
    blocks, _ = gathered(pairs, dtype, l_max=l_max, shape=shape)
    close(gradients(blocks, k, len(pairs.i), shape), expected, dtype)


@dtypes
def test_more_neighbours_than_a_block_holds(dtype):
    pairs, order = random_pairs([2 * WIDTH, 0, 3 * WIDTH + 1, 1], lengths=(0.9, 4.1)), 8
    blocks, _ = gathered(pairs, dtype)
    assert (np.diff(blocks.first) > 1).any()
    close(moments(blocks, 4, order, dtype), expected_moments(pairs, order), dtype)
    k = random_k(4, order, dtype)
    expected = oracles.pair_gradient(k.astype(float), pairs.i, pairs.types_j, pairs.vectors, order, *SHAPE, 3)
    close(gradients(blocks, k, len(pairs.i)), expected, dtype)


@dtypes
@given(counts=counts, seed=st.integers(0, 1000), lengths=lengths)
def test_forces_and_virials_are_sums_of_the_pair_gradient(dtype, counts, seed, lengths):
    pairs, k = random_pairs(counts, seed=seed, lengths=lengths), random_k(len(counts), 8, dtype, seed)
    blocks, _ = gathered(pairs, dtype)
    forces, virials = np.ones((len(counts), 3)), np.full((len(counts), 3, 3), 2.0)  # what other groups have added
    expected = forces.copy(), virials.copy()
    for e, g in enumerate(gradients(blocks, k, len(pairs.i))):
        expected[0][pairs.i[e]] += g
        expected[0][pairs.j[e]] -= g
        expected[1][pairs.j[e]] -= np.outer(pairs.vectors[e], g)
    kernels.forces_and_virials(blocks, SHAPE, k, np.arange(len(counts)), pairs.j, pairs.vectors, forces, virials)
    close(forces, expected[0], dtype)
    close(virials, expected[1], dtype)


@given(counts=counts, seed=st.integers(0, 1000), data=st.data())
def test_blocks_hold_every_pair_of_their_centres_once_and_fit_the_room(counts, seed, data):
    pairs = random_pairs(counts, seed=seed)
    centres = np.array(data.draw(st.permutations(range(len(counts)))))[: data.draw(st.integers(1, len(counts)))]
    blocks, closest = gathered(pairs, "float64", centres)
    assert blocks.first[0] == 0
    assert blocks.first[-1] <= len(blocks.size)
    own = []
    for a, centre in enumerate(centres):
        for t in range(N_TYPES):
            found = []
            for b in range(*blocks.first[a * N_TYPES + t :][:2]):
                assert 0 < blocks.size[b] <= WIDTH
                found += list(blocks.pair[b * WIDTH :][: blocks.size[b]])
            mine = np.arange(pairs.first[centre], pairs.first[centre + 1])
            assert found == list(mine[pairs.types_j[mine] == t])
            own += found
    r = np.linalg.norm(pairs.vectors[own], axis=1)
    expected = [min(r[pairs.types_j[own] == t], default=np.inf) for t in range(N_TYPES)]
    np.testing.assert_allclose(closest, expected, rtol=1e-14)


def test_some_centres_in_any_order():
    pairs, centres = random_pairs([3, WIDTH + 5, 0, 7]), [3, 1]
    blocks, _ = gathered(pairs, "float64", centres)
    close(moments(blocks, 2, 8, "float64"), expected_moments(pairs, 8)[centres], "float64")
    k = random_k(2, 8, "float64")
    forces, virials = np.zeros((4, 3)), np.zeros((4, 3, 3))
    kernels.forces_and_virials(blocks, SHAPE, k, np.array(centres), pairs.j, pairs.vectors, forces, virials)
    of_all = np.zeros((4, 16, N_TYPES, 8))
    of_all[centres] = k
    gradient = oracles.pair_gradient(of_all, pairs.i, pairs.types_j, pairs.vectors, 8, *SHAPE, 3)
    expected = np.zeros((4, 3))
    np.add.at(expected, pairs.i, gradient)
    np.subtract.at(expected, pairs.j, gradient)
    close(forces, expected, "float64")


def test_room_is_used_again():
    large, small = random_pairs([150, 20, 8], seed=1, lengths=(0.7, 4.0)), random_pairs([2, 0, 9], seed=2)
    room, _ = gathered(large, "float64")
    assert kernels.suffices(room, 3 * N_TYPES, len(small.i))
    assert not kernels.suffices(room, 3 * N_TYPES, 178 + WIDTH)
    assert not kernels.suffices(room, 4 * N_TYPES, len(small.i))
    assert not kernels.suffices(kernels.new_blocks(2, 960, np.dtype(float), 1), 3, 0)
    closest = np.full(N_TYPES, np.inf)
    kernels.gather(np.arange(3), small.first, small.types, small.j, small.vectors, SHAPE, closest, room)  # not cleaned
    close(moments(room, 3, 8, "float64"), expected_moments(small, 8), "float64")


def test_smallest_distances_are_only_lowered():
    pairs, closest = random_pairs([6, 6], lengths=(2.0, 3.0)), np.array([0.5, 9.0])
    room = kernels.new_blocks(2 * N_TYPES, 12, np.dtype(float), 1)
    kernels.gather(np.arange(2), pairs.first, pairs.types, pairs.j, pairs.vectors, SHAPE, closest, room)
    assert closest[0] == 0.5
    assert closest[1] == pytest.approx(np.linalg.norm(pairs.vectors, axis=1)[pairs.types_j == 1].min())


@dtypes
def test_pairs_beyond_the_cutoff_contribute_nothing(dtype):
    pairs = random_pairs([5, 130], lengths=(RCUT, 9.0))
    blocks, _ = gathered(pairs, dtype)
    np.testing.assert_array_equal(moments(blocks, 2, 8, dtype), 0.0)
    np.testing.assert_array_equal(gradients(blocks, random_k(2, 8, dtype), 135), 0.0)


@dtypes
def test_atoms_without_neighbours(dtype):
    for counts in ([0, 0], [0]):
        blocks, closest = gathered(random_pairs(counts), dtype)
        np.testing.assert_array_equal(moments(blocks, len(counts), 8, dtype), 0.0)
        assert (closest == np.inf).all()


@dtypes
@pytest.mark.parametrize("vector", [(np.nan, 0.0, 0.0), (1.0, np.nan, np.nan), (0.0, 0.0, 0.0), (np.inf, 0.0, 0.0)])
@pytest.mark.parametrize("size", [3, WIDTH + 3])
def test_what_is_no_number_comes_through(dtype, vector, size):
    pairs = random_pairs([size, 2])
    pairs.vectors[1] = vector
    blocks, _ = gathered(pairs, dtype)
    p, t = moments(blocks, 2, 8, dtype), pairs.types_j[1]
    assert not np.isfinite(p[0, :, t]).all()
    assert np.isfinite(p[1]).all()
    forces, virials = np.zeros((2, 3)), np.zeros((2, 3, 3))
    kernels.forces_and_virials(blocks, SHAPE, random_k(2, 8, dtype), np.arange(2), pairs.j, pairs.vectors, forces,
                               virials)
    assert not np.isfinite(forces[0]).all()
