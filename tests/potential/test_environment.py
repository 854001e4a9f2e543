import numpy as np
import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ase_deeppot.potential.environment import environment_rows, switching_function

distance = st.floats(0.05, 8.0)


def at(r, rcut_smth=2.0, rcut=6.0):
    return switching_function(torch.as_tensor(r, dtype=torch.float64), rcut_smth, rcut)


@given(r=st.lists(distance, min_size=1, max_size=20), rcut=st.floats(1.0, 7.0), part=st.floats(0.0, 0.9))
def test_switching_function_is_the_papers(r, rcut, part):
    expected = [oracles.switch(x, part * rcut, rcut) for x in r]
    np.testing.assert_allclose(at(r, part * rcut, rcut).numpy(), expected, atol=1e-12)


def test_switching_function_ends():
    np.testing.assert_array_equal(at([0.1, 2.0, 6.0, 7.0]).numpy(), [1.0, 1.0, 0.0, 0.0])
    assert at(4.0).item() == pytest.approx(0.5)


@pytest.mark.parametrize("edge", [2.0, 6.0])
def test_first_and_second_derivative_vanish_at_both_ends(edge):
    r = torch.tensor([edge - 1e-6, edge + 1e-6], dtype=torch.float64, requires_grad=True)
    first = torch.autograd.grad(at(r).sum(), r, create_graph=True)[0]
    second = torch.autograd.grad(first.sum(), r)[0]
    np.testing.assert_allclose(first.detach().numpy(), 0.0, atol=1e-10)
    np.testing.assert_allclose(second.numpy(), 0.0, atol=1e-4)  # third derivative 60/4^3 per A^3, times 1e-6 A


def test_derivatives_are_those_of_the_function():
    r = torch.linspace(0.3, 7.0, 68, dtype=torch.float64, requires_grad=True)  # hits neither end
    assert torch.autograd.gradcheck(at, r)
    assert torch.autograd.gradgradcheck(at, r)


@given(seed=st.integers(0, 10**6), count=st.integers(0, 12))
def test_rows_are_the_definition(seed, count):
    vectors = np.random.default_rng(seed).uniform(-4.0, 4.0, (count, 3))
    rows = environment_rows(torch.from_numpy(vectors), 1.0, 5.0).numpy()
    assert rows.shape == (count, 4)
    for row, vector in zip(rows, vectors, strict=True):
        np.testing.assert_allclose(row, oracles.environment_row(vector, 1.0, 5.0), rtol=1e-12, atol=1e-14)


def test_rows_follow_a_rotation():
    rng = np.random.default_rng(1)
    vectors, q = rng.normal(size=(7, 3)), np.linalg.qr(rng.normal(size=(3, 3)))[0]
    rows, turned = (environment_rows(torch.from_numpy(v), 0.5, 4.0).numpy() for v in (vectors, vectors @ q.T))
    np.testing.assert_allclose(turned[:, 0], rows[:, 0], rtol=1e-13)
    np.testing.assert_allclose(turned[:, 1:], rows[:, 1:] @ q.T, atol=1e-13)
