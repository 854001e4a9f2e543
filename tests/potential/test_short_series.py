"""The variable in which a series is short, against the series it is made from."""

import numpy as np
import pytest
import torch
from builders import random_model
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial import chebyshev

from ase_deeppot.potential.directions import MULTIPLE
from ase_deeppot.potential.short_series import shortest

TOLERANCE = 1e-11


def series_of(model):
    with torch.no_grad():
        return model.module.descriptor.series()


def values(coefficients, n_types, x):
    """Of all functions at points x, [..., n]."""
    parts = coefficients.unflatten(1, (n_types, -1)).numpy()
    return chebyshev.chebval(x, np.moveaxis(parts, 2, 0))


def in_variable(s, bend):
    """x at s in units of s_max."""
    return 2 * (1 + bend) * s / (1 + bend * s) - 1


@given(seed=st.integers(0, 200), l_max=st.integers(1, 2), order=st.sampled_from([48, 96]))
def test_the_same_functions(seed, l_max, order):
    model = random_model(seed=seed, order=order, l_max=l_max)
    whole = series_of(model)
    found = shortest(whole, 2, TOLERANCE)
    assert found.order % MULTIPLE == 0
    assert found.order <= order
    s = np.linspace(0, 1, 301)
    for part, short in zip(whole.matrices(), found.series.matrices(), strict=True):
        expected = values(part, 2, in_variable(s, 0))
        got = values(short, 2, in_variable(s, found.bend))
        np.testing.assert_allclose(got, expected, rtol=0, atol=100 * TOLERANCE * abs(expected).max())
    assert torch.equal(found.series.constant, whole.constant)


@given(seed=st.integers(0, 200))
def test_another_variable_is_taken_only_for_fewer_terms(seed):
    whole = series_of(random_model(seed=seed, order=96))
    found = shortest(whole, 2, TOLERANCE)
    parts = [part.unflatten(1, (2, -1)) for part in whole.matrices()]
    left = [sum(float(part[:, :, length:].square().sum()) for part in parts) for length in (0, found.order)]
    assert found.order <= 96
    if found.bend > 0:
        assert left[1] > TOLERANCE**2 * left[0]  # cut at this length the series would not do
        for part in found.series.matrices():
            assert not bool(part.unflatten(1, (2, -1))[:, :, -1].any())  # whose derivative has a term more


def test_a_variable_is_chosen():
    """Nets that vary most at small s, as those of liquids do."""
    assert shortest(series_of(random_model(order=96)), 2, TOLERANCE).bend > 0


@pytest.mark.parametrize("order", [8, 16])
def test_series_that_need_all_their_terms_stay_as_they_are(order):
    whole = series_of(random_model(order=order))
    found = shortest(whole, 2, TOLERANCE)
    assert (found.bend, found.order) == (0.0, order)
    for part, same in zip(whole.matrices(), found.series.matrices(), strict=True):
        assert torch.equal(part, same)
