"""The bispectrum against sums over neighbours, Legendre polynomials and automatic differentiation."""

import numpy as np
import pytest
import torch
from numpy.polynomial.legendre import Legendre
from scipy.spatial.transform import Rotation

from ase_deeppot.potential.bispectrum import ORDERS, Coupling, along, backward, backward_along, bispectrum, couplings
from ase_deeppot.potential.harmonics import harmonics

COLUMNS = 3


def directions(n, seed=0):
    u = np.random.default_rng(seed).normal(size=(n, 3))
    return u / np.linalg.norm(u, axis=1)[:, None]


def environments(u, weights):
    """``sum_j weights_j Y(u_j)`` of orders 1 to 3, [1, 2 l + 1, columns] each."""
    every = torch.einsum("jy,jc->yc", harmonics(torch.from_numpy(u), 3), torch.from_numpy(weights))
    return [every[None, order**2 : (order + 1) ** 2] for order in (1, 2, 3)]


def over_all_directions(orders, three):
    """``<P_l(u.n) P_l'(v.n) P_l''(w.n)>``, by a sum over so many n that it is exact."""
    z, weight = np.polynomial.legendre.leggauss(20)
    angle = 2 * np.pi * np.arange(40) / 40
    n = np.stack([np.outer(np.sqrt(1 - z * z), np.cos(angle)), np.outer(np.sqrt(1 - z * z), np.sin(angle)),
                  np.outer(z, np.ones(40))], axis=-1)
    values = np.prod([Legendre.basis(order)(n @ u) for order, u in zip(orders, three, strict=True)], axis=0)
    return float((weight[:, None] * values).sum() / 80)


@pytest.mark.parametrize("orders", ORDERS, ids=str)
def test_it_is_a_sum_over_three_neighbors(orders):
    u, weights = directions(4), np.random.default_rng(1).normal(size=(4, COLUMNS))
    one = Coupling(orders, COLUMNS, torch.float64)
    a = environments(u, weights)
    got = one(*(a[order - 1] for order in orders))[0].numpy()
    every = np.zeros((COLUMNS,) * 3)
    for j in np.ndindex(4, 4, 4):
        every += over_all_directions(orders, u[list(j)]) * np.einsum("a,b,c->abc", *weights[list(j)])
    np.testing.assert_allclose(got, every.ravel()[one.places.numpy()], atol=1e-13)
    assert np.allclose(np.unique(every.round(10)), np.unique(got.round(10)))  # nothing is left out


def test_two_and_one_of_one_order_by_hand():
    """``<(u.n)(v.n)P_2(w.n)> = (u.w)(v.w)/5 - u.v/15``, of neighbours that each have a column to themselves."""
    u = directions(3)
    one = Coupling((1, 1, 2), 3, torch.float64)
    a = environments(u, np.eye(3))
    expected = (u[0] @ u[2]) * (u[1] @ u[2]) / 5 - u[0] @ u[1] / 15
    place = int((one.places == 0 * 9 + 1 * 3 + 2).nonzero())
    np.testing.assert_allclose(float(one(a[0], a[0], a[1])[0, place]), expected, atol=1e-14)


@pytest.mark.parametrize("turn", [Rotation.random(random_state=3).as_matrix(), -np.eye(3)], ids=["turned", "inverted"])
def test_turning_and_inverting_change_nothing(turn):
    u, weights = directions(5), np.random.default_rng(1).normal(size=(5, COLUMNS))
    every = couplings(3, COLUMNS, torch.float64)
    one, other = (bispectrum(every, environments(v, weights)) for v in (u, u @ turn.T))
    assert abs(one).max() > 0.1
    torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("l_max", "columns", "width"), [(1, 4, 0), (2, 4, 60), (3, 4, 164), (3, 1, 4), (3, 0, 0)])
def test_number_of_invariants(l_max, columns, width):
    assert sum(len(one.places) for one in couplings(l_max, columns, torch.float64)) == width


@pytest.mark.parametrize("l_max", [2, 3])
def test_derivatives_are_those_of_automatic_differentiation(l_max):
    generator = torch.Generator().manual_seed(0)
    every = couplings(l_max, COLUMNS, torch.float64)
    a, dot = ([torch.randn(5, 2 * order + 1, COLUMNS, generator=generator, dtype=torch.float64, requires_grad=True)
               for order in range(1, l_max + 1)] for _ in range(2))
    values = bispectrum(every, a)
    _, change = torch.autograd.functional.jvp(lambda *a: bispectrum(every, list(a)), tuple(a), tuple(dot))
    torch.testing.assert_close(along(every, a, dot), change)
    g = torch.randn(values.shape, generator=generator, dtype=torch.float64)
    bars = torch.autograd.grad(values, a, g, create_graph=True)
    for got, bar in zip(backward(every, a, g), bars, strict=True):
        torch.testing.assert_close(got, bar)
    _, changes = torch.autograd.functional.jvp(lambda *a: tuple(backward(every, list(a), g)), tuple(a), tuple(dot))
    for got, bar in zip(backward_along(every, a, dot, g), changes, strict=True):
        torch.testing.assert_close(got, bar)
