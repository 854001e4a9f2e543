"""Harmonics against their recursions, their addition theorem, and finite steps."""

import numpy as np
import oracles
import pytest
import torch
from scipy.special import eval_legendre

from ase_deeppot.potential.harmonics import harmonics, harmonics_backward


def directions(n, seed):
    u = np.random.default_rng(seed).normal(size=(n, 3))
    return u / np.linalg.norm(u, axis=1, keepdims=True)


@pytest.mark.parametrize("l_max", [1, 2, 3, 4, 6])
def test_harmonics_are_those_of_the_recursions(l_max):
    u = directions(20, 0)
    expected = [oracles.harmonics(v, l_max) for v in u]
    np.testing.assert_allclose(harmonics(torch.from_numpy(u), l_max), expected, atol=1e-14)


def test_addition_theorem():
    u, v = directions(20, 1), directions(20, 2)
    products = (harmonics(torch.from_numpy(u), 8) * harmonics(torch.from_numpy(v), 8)).numpy()
    for l in range(9):  # noqa: E741
        expected = eval_legendre(l, (u * v).sum(1))
        np.testing.assert_allclose(products[:, l * l : (l + 1) ** 2].sum(1), expected, atol=1e-14)


@pytest.mark.parametrize("l_max", [1, 2, 3, 4, 6])
def test_backward_is_the_derivative_across_the_direction(l_max):
    u = directions(5, 3)
    h = np.random.default_rng(4).normal(size=(5, (l_max + 1) ** 2))
    got = harmonics_backward(torch.from_numpy(u), torch.from_numpy(h)).numpy()

    def value(k, v):
        return (h[k] * oracles.harmonics(v / np.sqrt(np.sum(v * v)), l_max)).sum()

    expected = [oracles.complex_step(lambda dv, k=k: value(k, u[k] + dv), 3) for k in range(5)]
    np.testing.assert_allclose(got - (got * u).sum(1, keepdims=True) * u, expected, atol=1e-13)
