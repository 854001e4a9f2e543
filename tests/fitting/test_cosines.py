"""Random cosines: the kernel that they stand for, their slopes, and the metric."""

import math

import pytest
import torch

from ase_deeppot.fitting.cosines import LENGTH, draw, first_metric, metric_of


def atoms(n=50, width=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, width, generator=generator, dtype=torch.float64) * torch.arange(1.0, width + 1.0)


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def test_many_of_them_are_a_gaussian_kernel():
    """``2/M sum_m cos cos`` is ``exp(-|S (x - x')|^2 / 2 l^2)``, S the metric over what atoms are apart."""
    x = atoms()
    metric = torch.eye(6, dtype=torch.float64)[:, :4] * 0.7  # does not see two of the components
    values = draw(metric, x, 200_000, generator()).values(x)
    seen = (x @ metric)
    apart = (seen - seen.mean(0)).square().sum(1).mean().sqrt()
    expected = torch.exp(-torch.cdist(seen / apart, seen / apart).square() / (2 * LENGTH**2))
    torch.testing.assert_close(2 * values @ values.t() / values.shape[1], expected, rtol=0, atol=0.02)
    assert expected.min() < 0.98  # there is something to see


def test_slopes_and_gradient():
    x = atoms(5).requires_grad_()
    layer = draw(first_metric(x.detach()), x.detach(), 7, generator())
    weights = torch.linspace(-1, 1, 7, dtype=torch.float64)
    values = layer.values(x)
    expected, = torch.autograd.grad((values @ weights).sum(), x)
    torch.testing.assert_close(layer.gradient(x.detach(), weights), expected)
    torch.testing.assert_close((layer.slopes(x.detach()) * weights) @ layer.frequencies.t(), expected)
    assert values.detach() == pytest.approx(torch.cos(x.detach() @ layer.frequencies + layer.phases))


def test_the_same_seed_draws_the_same():
    x = atoms()
    one, other, third = (draw(first_metric(x), x, 4, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one.frequencies, other.frequencies)
    assert torch.equal(one.phases, other.phases)
    assert not torch.equal(one.frequencies, third.frequencies)


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


@pytest.mark.parametrize("x", [torch.ones(9, 4, dtype=torch.float64), torch.zeros(1, 4, dtype=torch.float64)])
def test_atoms_that_are_all_alike(x):
    layer = draw(first_metric(x), x, 5, generator())
    assert layer.frequencies.isfinite().all()
    assert layer.values(x).isfinite().all()
