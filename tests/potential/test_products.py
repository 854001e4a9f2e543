"""The compiled products of the folded descriptor against `einsum`, and their way back against its derivative."""

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("numba", reason="the loops are compiled with numba")

from ase_deeppot.potential.kernels.higher_products import higher_products, higher_products_backward
from ase_deeppot.potential.kernels.products import products, products_backward

TOLERANCE = {"float64": 1e-13, "float32": 1e-5}
TL = 8  # a multiple of four, as T * L is, and as the number of directions is


def case(n, rank, dtype, seed):
    """P [n, 4, T L], radial and angular [T L, R], constant [R]."""
    rng = np.random.default_rng(seed)
    shapes = ((n, 4, TL), (TL, rank), (TL, rank), (rank,))
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def expected_products(p, radial, angular, constant, runs):
    """y [n, 4, R] and z [n, K]."""
    y = np.concatenate([p[:, :1] @ radial + constant, p[:, 1:] @ angular], axis=1)
    every = np.einsum("nca,ncr->nar", y, y)
    places = [(a, r) for part in (0, 1) for a in range(runs.shape[1]) for r in range(runs[part, a], runs[part + 1, a])]
    return y, np.array([[row[place] for place in places] for row in every])


def transposed(matrices):
    return np.ascontiguousarray(matrices.swapaxes(-1, -2))


def computed(arrays, runs):
    p, rank = arrays[0], len(arrays[3])
    y = np.full((len(p), 4, rank), np.nan, p.dtype)
    z = np.full((len(p), int((runs[2] - runs[0]).sum())), np.nan, p.dtype)
    radial, angular = map(transposed, arrays[1:3])
    products(p, radial, angular, arrays[3], runs, 0, y, z)
    return y, z


def rows_of_products(rank):
    """Where those of a <= r < middle end, and those of middle <= r < end, for each a of some."""
    row = [st.tuples(st.just(a), st.integers(a, rank), st.integers(a, rank)).map(sorted) for a in range(rank)]
    return st.integers(1, rank).flatmap(lambda axis: st.tuples(*row[:axis]).map(lambda rows: np.array(rows).T.copy()))


sizes = st.sampled_from([4, 8, 12, 20]).flatmap(lambda rank: st.tuples(st.just(rank), rows_of_products(rank)))
every_size = given(n=st.integers(0, 3), size=sizes, seed=st.integers(0, 1000))
dtypes = pytest.mark.parametrize("dtype", TOLERANCE)


@dtypes
@every_size
def test_products(dtype, n, size, seed):
    rank, runs = size
    arrays = case(n, rank, dtype, seed)
    y, z = computed(arrays, runs)
    expected = expected_products(*(array.astype(float) for array in arrays), runs)
    np.testing.assert_allclose(y, expected[0], rtol=0, atol=10 * TOLERANCE[dtype])
    np.testing.assert_allclose(z, expected[1].reshape(z.shape), rtol=0, atol=300 * TOLERANCE[dtype])


@dtypes
@every_size
def test_products_backward(dtype, n, size, seed):
    rank, runs = size
    p, radial, angular, _ = arrays = case(n, rank, dtype, seed)
    y, z = computed(arrays, runs)
    z_bar = np.random.default_rng(seed + 1).normal(size=z.shape).astype(dtype)
    k = np.full_like(p, np.nan)
    products_backward(y, z_bar, 0, radial, angular, runs, k)
    exact = [array.astype(float) for array in arrays]

    def energy(dp):
        return (z_bar * expected_products(exact[0] + dp, *exact[1:], runs)[1]).sum()

    expected = oracles.complex_step(energy, p.shape) if n else np.zeros(p.shape)
    np.testing.assert_allclose(k, expected, rtol=0, atol=TOLERANCE[dtype] * 10 * (1 + abs(expected).max(initial=0)))


@dtypes
def test_what_is_no_number_comes_through(dtype):
    arrays = case(2, 8, dtype, 0)
    arrays[0][1, 2, 3] = np.nan
    runs = np.array([(0, 1, 2), (3, 1, 5), (5, 4, 5)])
    y, z = computed(arrays, runs)
    assert np.isfinite(z[0]).all()
    assert np.isnan(z[1]).all()
    k = np.zeros_like(arrays[0])
    products_backward(y, np.ones_like(z), 0, *arrays[1:3], runs, k)
    assert np.isfinite(k[0]).all()
    assert np.isnan(k[1]).any()


higher_sizes = st.sampled_from([4, 8, 20]).flatmap(lambda rank: st.tuples(st.just(rank), st.integers(1, rank)))


@dtypes
@given(n=st.integers(0, 2), size=higher_sizes, orders=st.integers(0, 2), seed=st.integers(0, 1000))
def test_products_of_higher_orders_and_back(dtype, n, size, orders, seed):
    rank, axis = size
    rng, n_rows = np.random.default_rng(seed), (orders + 2) ** 2
    p, higher = (rng.normal(size=shape).astype(dtype) for shape in ((n, n_rows, TL), (orders, TL, rank)))
    width = axis * rank - axis * (axis - 1) // 2
    y, z = np.full((n, n_rows - 4, rank), np.nan, dtype), np.full((n, 3 + orders * width), 7, dtype)
    higher_products(p, transposed(higher), axis, 3, y, z)
    z_bar = rng.normal(size=z.shape).astype(dtype)

    def expected(p):
        columns = []
        for l, matrix in enumerate(higher.astype(float), 2):  # noqa: E741
            y = p[:, l * l : (l + 1) ** 2] @ matrix
            columns += [(y[:, :, a] * y[:, :, r]).sum(1) for a in range(axis) for r in range(a, rank)]
        return np.reshape(columns, (orders * width, n)).T

    np.testing.assert_array_equal(z[:, :3], 7)  # those of the low orders
    np.testing.assert_allclose(z[:, 3:], expected(p.astype(float)), rtol=0, atol=1000 * TOLERANCE[dtype])
    k = np.full_like(p, 7)
    higher_products_backward(y, z_bar, 3, higher, axis, k)
    np.testing.assert_array_equal(k[:, :4], 7)
    exact = oracles.complex_step(lambda dp: (z_bar[:, 3:] * expected(p + dp)).sum(), p.shape) if n else p
    atol = TOLERANCE[dtype] * 30 * (1 + abs(exact).max(initial=0))
    np.testing.assert_allclose(k[:, 4:], exact[:, 4:], rtol=0, atol=atol)
