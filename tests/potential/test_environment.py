import numpy as np
import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ase_deeppot.potential.environment import radial_weight, switching_function

distance = st.floats(0.05, 8.0)


def at(r, rcut_smth=2.0, rcut=6.0):
    return switching_function(torch.as_tensor(r, dtype=torch.float64), rcut_smth, rcut)[0]


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


def test_slopes_are_those_of_the_function():
    r = torch.linspace(0.3, 7.0, 68, dtype=torch.float64, requires_grad=True)
    for function in (switching_function, radial_weight):
        value, slope = function(r, 2.0, 6.0)
        np.testing.assert_allclose(slope.detach(), torch.autograd.grad(value.sum(), r)[0], atol=1e-12)


@given(seed=st.integers(0, 10**6))
def test_radial_weight_is_the_first_column_of_the_environment_matrix(seed):
    vector = np.random.default_rng(seed).uniform(-4.0, 4.0, 3)
    s, _ = radial_weight(torch.tensor([np.linalg.norm(vector)]), 1.0, 5.0)
    assert s.item() == pytest.approx(oracles.environment_row(vector, 1.0, 5.0)[0], rel=1e-12, abs=1e-14)
