"""Monomials: the kernel that they are the largest terms of, their slopes, and the metric."""

import math
from itertools import combinations_with_replacement

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ase_deeppot.fitting import monomials as monomials_of_inputs
from ase_deeppot.fitting.monomials import LENGTH, first_metric, metric_of, monomials


def atoms(n=50, width=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, width, generator=generator, dtype=torch.float64) * torch.arange(1.0, width + 1.0)


def test_all_of_them_are_a_gaussian_kernel():
    """``1 + sum_m phi_m phi_m`` is ``exp(z . z')`` up to third order, and a Gaussian with its factors before it."""
    x = atoms()
    metric = torch.eye(6, dtype=torch.float64)[:, :4] * 0.7  # does not see two of the components
    every = monomials(metric, x, 10_000)
    assert len(every.scale) == math.comb(4 + 3, 3) - 1
    values, z = every.values(x), every.inputs(x)[:, 1:]
    products = z @ z.t()
    torch.testing.assert_close(1 + values @ values.t(), 1 + products + products**2 / 2 + products**3 / 6)
    seen = x @ metric
    apart = (seen - seen.mean(0)).square().sum(1).mean().sqrt()
    expected = torch.exp(-torch.cdist(seen / apart, seen / apart).square() / (2 * LENGTH**2))
    before = torch.exp(-z.square().sum(1) / 2)
    torch.testing.assert_close((1 + values @ values.t()) * before[:, None] * before, expected, rtol=0, atol=1e-6)
    assert expected.min() < 0.98  # there is something to see


@given(width=st.integers(1, 7), count=st.integers(1, 60), seed=st.integers(0, 50))
def test_the_largest_are_taken(width, count, seed):
    """Largest products of the directions' mean squares, and no more than asked for; each once."""
    x = atoms(40, width, seed)
    found = monomials(first_metric(x), x, count)
    z = found.inputs(x)[:, 1:]
    taken = {tuple(sorted(powers)) for powers in found.powers.t().tolist()}
    assert len(taken) == len(found.scale) <= count
    assert all(a <= b <= c for a, b, c in taken)
    everything = monomials(first_metric(x), x, 10**6)
    spread = [1.0, *everything.inputs(x)[:, 1:].square().mean(0).tolist()]
    size = {powers: math.prod(spread[p] for p in powers)
            for powers in combinations_with_replacement(range(len(spread)), 3) if any(powers)}
    left = [size[powers] for powers in size if powers not in taken]
    assert min(size[powers] for powers in taken) >= max(left, default=0.0) * (1 - 1e-9)
    assert len(taken) == min(count, len(size))
    correlation = (z.t() @ z / len(z)).numpy()
    np.testing.assert_allclose(correlation, np.diag(correlation.diagonal()), rtol=0, atol=1e-12)


@pytest.mark.parametrize("room", [1, 37, 10**6])
def test_slopes_and_gradient(room, monkeypatch):
    x = atoms(5).requires_grad_()
    found = monomials(first_metric(x.detach()), x.detach(), 23)
    weights = torch.linspace(-1, 1, len(found.scale), dtype=torch.float64)
    expected, = torch.autograd.grad((found.values(x) @ weights).sum(), x)
    torch.testing.assert_close(found.gradient(x.detach(), weights), expected)
    change = atoms(5, seed=3)
    monkeypatch.setattr(monomials_of_inputs, "ROOM", room)
    along = found.along((change @ found.directions).t()[:, None], found.slopes(x.detach()))
    torch.testing.assert_close(weights @ along, (change * expected).sum()[None])


def test_the_first_metric_is_half_way_to_equal_components():
    x = atoms(5000)
    spread = (x @ first_metric(x)).std(0)
    torch.testing.assert_close(spread, x.std(0).sqrt(), rtol=1e-3, atol=0)


def test_the_metric_is_long_where_the_energy_changes():
    gradients = torch.zeros(100, 3, dtype=torch.float64)
    gradients[:, 0], gradients[:, 1] = 16.0, torch.linspace(-1, 1, 100)
    metric = metric_of(gradients)
    lengths = (metric @ metric.t()).diagonal().sqrt()
    assert lengths[0] == pytest.approx(math.sqrt(16.0))  # (g g^T)^(1/4)
    assert lengths[0] > lengths[1] > lengths[2] > 0


@pytest.mark.parametrize("x", [torch.ones(9, 4, dtype=torch.float64), torch.zeros(1, 4, dtype=torch.float64),
                               torch.zeros(0, 4, dtype=torch.float64)])
def test_atoms_that_are_all_alike(x):
    found = monomials(first_metric(x), x, 5)
    assert found.directions.isfinite().all()
    assert found.pairs.shape[1] > 0
    assert found.values(x + 1.0).isfinite().all()
