"""Chebyshev series against NumPy's, and what they do beyond their range."""

import numpy as np
import pytest
import torch
from numpy.polynomial import chebyshev

from ase_deeppot.potential.chebyshev import nodes, polynomials, transform


@pytest.mark.parametrize("order", [2, 3, 24, 48])
def test_polynomials_are_numpys(order):
    x = np.linspace(-1, 1, 40)
    values, slopes = (tensor.numpy() for tensor in polynomials(torch.from_numpy(x), order))
    for degree in range(order):
        unit = np.eye(order)[degree]
        np.testing.assert_allclose(values[degree], chebyshev.chebval(x, unit), atol=1e-12)
        np.testing.assert_allclose(slopes[degree], chebyshev.chebval(x, chebyshev.chebder(unit)), atol=1e-9)


def test_transform_gives_the_interpolating_series():
    x = nodes(20)
    coefficients = transform(20) @ torch.exp(x)
    np.testing.assert_allclose(chebyshev.chebval(x.numpy(), coefficients.numpy()), np.exp(x.numpy()), rtol=1e-14)
    between = np.linspace(-1, 1, 77)
    np.testing.assert_allclose(chebyshev.chebval(between, coefficients.numpy()), np.exp(between), rtol=1e-13)


def test_beyond_the_range_they_go_on_as_straight_lines():
    x = torch.tensor([1.0, 1.5, 4.0], dtype=torch.float64)
    values, slopes = polynomials(x, 6)
    for degree in range(6):
        np.testing.assert_allclose(values[degree], 1.0 + degree**2 * (x - 1.0), rtol=1e-14)
        np.testing.assert_allclose(slopes[degree], degree**2, rtol=1e-14)
