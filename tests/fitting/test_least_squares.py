"""A quadratic function in one matrix: its value, and where it is least, against the textbook."""

import numpy as np
import pytest
import torch

from ase_deeppot.fitting import least_squares
from ase_deeppot.fitting.least_squares import Dual, Quadratic


def equations(k, n, seed=0):
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(part) for part in (rng.normal(size=(k, n)), rng.normal(size=k), rng.uniform(1, 2, k))]


def quadratic(*parts):
    found = Quadratic.zero(parts[0][0].shape[1])
    for part in parts:
        found.add(*part)
    return found


def test_value_is_what_a_change_adds_to_the_squares():
    rows, errors, weights = equations(9, 4)
    x = torch.from_numpy(np.random.default_rng(1).normal(size=4))
    expected = float((weights * ((errors + rows @ x).square() - errors.square())).sum())
    assert quadratic((rows[:5], errors[:5], weights[:5]), (rows[5:], errors[5:], weights[5:])).at(x) == pytest.approx(
        expected)


@pytest.mark.parametrize("n", [1, 7, 20])
def test_least_is_that_of_normal_equations_whatever_was_asked_before(n, monkeypatch):
    monkeypatch.setattr(least_squares, "COLUMNS", 6)  # a last block that is not full, and one that is
    rows, errors, weights = equations(30, n)
    loss = quadratic((rows, errors, weights))
    normal = (rows.t() * weights) @ rows
    for ridge in (1e-3, 1e-12, 0.1):
        stiff = normal + ridge * normal.diagonal().mean() * torch.eye(n, dtype=torch.float64)
        expected = -torch.linalg.solve(stiff, rows.t() @ (weights * errors))
        torch.testing.assert_close(loss.least(ridge), expected, rtol=1e-9, atol=1e-11)


def test_labels_that_are_not_there_count_for_nothing():
    rows, errors, weights = equations(8, 3)
    some = errors.clone()
    some[::2] = torch.nan
    for got, expected in zip(quadratic((rows, some, weights)),
                             quadratic((rows[1::2], errors[1::2], weights[1::2])), strict=True):
        np.testing.assert_allclose(np.triu(got), np.triu(expected), atol=1e-14)
    assert not quadratic((rows, torch.full_like(errors, torch.nan), weights)).matrix.any()


def test_no_least_value_is_an_error_and_leaves_the_function_as_it_was():
    loss = quadratic(equations(8, 3))
    x = torch.ones(3, dtype=torch.float64)
    before = loss.at(x), loss.least(1e-6)
    with pytest.raises(torch.linalg.LinAlgError, match="positive curvature"):
        loss.least(-2.0)
    assert loss.at(x) == before[0]
    torch.testing.assert_close(loss.least(1e-6), before[1])


@pytest.mark.parametrize("k", [3, 20, 60])
def test_fewer_equations_than_unknowns_have_the_same_solution(k):
    rows, errors, weights = equations(k, 30)
    errors[1] = torch.nan
    dual = Dual([], [])
    for part in (slice(0, 2), slice(2, None)):
        dual.add(rows[part], errors[part], weights[part])
    ridges = (1e-3, 0.1, 1.0)
    expected = [quadratic((rows, errors, weights)).least(ridge) for ridge in ridges]
    torch.testing.assert_close(dual.least(ridges), torch.stack(expected, 1), rtol=1e-8, atol=1e-10)


def test_no_solution_of_few_equations_is_nan():
    rows, errors, weights = equations(4, 9)
    dual = Dual([], [])
    dual.add(torch.cat([rows, rows]), torch.cat([errors, errors]), torch.cat([weights, weights]))
    found = dual.least((-1.0, 1e-2))
    assert found[:, 0].isnan().all()
    assert found[:, 1].isfinite().all()
