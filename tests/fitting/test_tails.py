"""Weighted monomials as a model's polynomial on fewer directions, against the monomials."""

import pytest
import torch

from ase_deeppot.fitting.monomials import Monomials, first_metric, monomials, of_polynomial
from ase_deeppot.fitting.tails import summed
from ase_deeppot.potential.polynomial import Polynomial


def some(count, falling=0.5):
    """Monomials of inputs whose spread falls, and 50 such inputs."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 12, dtype=torch.float64, generator=generator) * falling ** torch.arange(12.0)
    return monomials(first_metric(x), x, count), x


def random_weights(layer):
    return torch.randn(len(layer.scale), dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def polynomial_of(terms):
    polynomial = Polynomial(len(terms.shift), terms.pairs.shape[1], len(terms.places), torch.float64)
    polynomial.load_state_dict({"pairs": terms.pairs, "places": terms.places, "weight": terms.weight})
    return polynomial


@pytest.mark.parametrize("count", [1, 5, 12, 40, 150])
@pytest.mark.parametrize("falling", [0.3, 0.9])
def test_the_polynomial_is_the_same_on_fewer_directions(count, falling):
    layer, x = some(count, falling)
    weights = random_weights(layer)
    terms = summed(layer, weights)
    values, slopes = polynomial_of(terms)(x @ terms.directions + terms.shift)
    torch.testing.assert_close(values, layer.values(x) @ weights, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(slopes @ terms.directions.t(), layer.gradient(x, weights), rtol=1e-11, atol=1e-15)
    assert len(terms.shift) <= len(layer.shift)
    assert len(terms.weight) <= len(weights)


def test_directions_that_are_in_linear_terms_alone_are_one():
    layer, _ = some(20, 0.3)
    nonlinear = int(layer.powers[:, layer.powers[1] > 0].max())
    assert nonlinear + 1 < len(layer.shift)
    assert len(summed(layer, random_weights(layer)).shift) <= nonlinear + 1


def test_as_few_directions_as_may_be():
    """Runs (0, 0) and (0, 1) from 1 to 9 and (0, 2) from 2 to 5: two directions, and three tails."""
    runs = torch.tensor([[1, 1, 2], [10, 10, 6]])
    pairs = torch.tensor([[0, 0, 0], [0, 1, 2]])
    thirds = torch.cat([torch.arange(int(start), int(stop)) for start, stop in runs.t()])
    powers = torch.cat([torch.repeat_interleave(pairs, runs[1] - runs[0], dim=1), thirds[None]])
    layer = Monomials(torch.eye(9, dtype=torch.float64), torch.zeros(9, dtype=torch.float64), pairs, runs, powers,
                      torch.ones(powers.shape[1], dtype=torch.float64))
    terms = summed(layer, random_weights(layer))
    assert terms.directions.shape == (9, 5)
    assert terms.pairs.tolist() == [[0, 0, 0, 0, 0, 0], [0, 1, 2, 0, 1, 2]]
    assert (terms.places % 6).tolist() == [0, 0, 1, 1, 2, 3, 4, 5]
    assert (terms.places // 6).tolist() == [1, 2, 1, 2, 2, 3, 4, 5]


def test_weights_of_zero():
    layer, x = some(40)
    terms = summed(layer, torch.zeros(40, dtype=torch.float64)[: len(layer.scale)])
    values, slopes = polynomial_of(terms)(x @ terms.directions + terms.shift)
    assert not values.any()
    assert not slopes.any()


def test_monomials_again():
    """A tail counts like any other monomial to those that are found of a model: its size is that of its weights."""
    layer, x = some(60)
    weights = random_weights(layer)
    terms = summed(layer, weights)
    again = of_polynomial(terms.directions, terms.shift, terms.pairs, terms.places)
    start = terms.weight / again.scale
    torch.testing.assert_close(again.values(x) @ start, layer.values(x) @ weights, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(start.square().sum(), weights.square().sum())
