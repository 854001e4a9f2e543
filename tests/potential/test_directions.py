"""The functions that make up the environments: all of them, the axis components apart, and the products that matter."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ase_deeppot.potential.directions import alike, directions, fold_matrix, taken, without_small_products


def columns(seed, n, m, decay):
    """C [n, M] whose singular values fall off by ``decay`` each."""
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.normal(size=(size, size)))[0] for size in (n, m))
    sizes = decay ** np.arange(min(n, m))
    return torch.from_numpy(left[:, : len(sizes)] * sizes @ right[: len(sizes)])


@given(seed=st.integers(0, 1000), n=st.integers(2, 30), m=st.integers(1, 12), decay=st.sampled_from([0.9, 0.1, 0.01]),
       data=st.data())
def test_functions_make_up_the_environments(seed, n, m, decay, data):
    axis, c = data.draw(st.integers(1, m)), columns(seed, n, m, decay)
    found = directions(c, axis, 1e-11)
    y = c @ found.making
    torch.testing.assert_close(y @ found.vectors.t(), c, rtol=0, atol=1e-9)
    alone = found.axis.shape[1]
    torch.testing.assert_close(y[:, :alone] @ found.axis.t(), c[:, :axis], rtol=0, atol=1e-9)
    torch.testing.assert_close(found.sizes, torch.linalg.vector_norm(y, dim=0))
    assert found.vectors.shape[1] % 4 == 0
    assert found.vectors.shape[1] <= -(-min(n, m) // 4) * 4


def test_as_many_functions_as_matter_filled_up_to_four():
    c = columns(0, 40, 30, 0.1)  # singular values 1, 1e-1, 1e-2, ...
    assert [directions(c, 3, tolerance).vectors.shape[1] for tolerance in (3e-5, 3e-9)] == [8, 12]


def test_axis_components_that_repeat_others_take_no_more_functions():
    c = columns(1, 20, 6, 0.5)
    c[:, 3:] = c[:, :3]
    found = directions(c, 6, 1e-11)
    assert found.axis.shape == (6, 3)
    assert found.vectors.shape == (6, 4)
    assert found.sizes[3] == 0  # no components are left to fill up with


def test_nothing_gives_one_function():
    found = directions(torch.zeros(8, 4, dtype=torch.float64), 2, 1e-11)
    assert found.axis.shape == (2, 1)
    assert torch.isfinite(found.making).all()


@pytest.mark.parametrize("tolerance", [1e-4, 1e-8, 0.0])
def test_products_left_out_add_less_than_the_tolerance(tolerance):
    rng, (m, axis) = np.random.default_rng(0), (12, 5)
    c, weight = columns(2, 40, m, 0.2), torch.from_numpy(rng.normal(size=(m * axis, 7)))
    found = without_small_products(directions(c, axis, 1e-14), weight, tolerance)
    p = torch.from_numpy(rng.normal(size=(50, 4, 40)) / 40**0.5)
    a, y = p @ c, p @ c @ found.making
    descriptor = torch.bmm(a.transpose(1, 2), a[:, :, :axis]).flatten(1)
    products = torch.bmm(y[:, :, : found.axis.shape[1]].transpose(1, 2), y).flatten(1)
    products = products[:, taken(found.ends, found.large, found.vectors.shape[1])]
    expected, got = descriptor @ weight, products @ fold_matrix(weight, found)
    scale = float(expected.abs().max())
    assert float((got - expected).abs().max()) < max(tolerance, 1e-12) * scale
    every = sum(12 - a for a in range(5))
    assert products.shape[1] == sum(end - a for a, end in enumerate(found.ends))
    assert all(a <= large <= end for a, (large, end) in enumerate(zip(found.large, found.ends, strict=True)))
    n_large = sum(large - a for a, large in enumerate(found.large))
    of_small = products[:, n_large:].float().double() @ fold_matrix(weight, found)[n_large:].float().double()
    rounded = products[:, :n_large] @ fold_matrix(weight, found)[:n_large] + of_small
    assert float((rounded - got).abs().max()) <= tolerance * scale
    assert (n_large < products.shape[1]) == (tolerance > 0)
    assert (products.shape[1] < every) == (tolerance > 0)


def test_orders_are_filled_up_to_be_alike():
    one, other = alike([directions(columns(3, 20, 8, 0.5), 4, 1e-11), directions(columns(4, 20, 8, 0.01), 2, 1e-3)])
    assert one.vectors.shape == other.vectors.shape
    assert one.axis.shape == (4, 4)
    assert other.axis.shape == (2, 4)
    assert one.ends == other.ends == [8] * 4
    assert not other.axis[:, 2:].any()
