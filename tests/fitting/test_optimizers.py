"""Muon against the singular value decomposition and against torch's own; what is left to Adam."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from ase_deeppot.fitting.optimizers import MOMENTUM, QUINTICS, WHOLE, WIDEST, Muon, optimizers, orthogonal
from ase_deeppot.potential.config import FittingNetConfig, ModelConfig, SmoothConfig
from ase_deeppot.potential.deep_potential import DeepPotential


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def by_decomposition(matrix):
    """The polynomials applied to the singular values, in NumPy."""
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    s = s / np.linalg.norm(s)
    for a, b, c in QUINTICS:
        s = a * s + b * s**3 + c * s**5
    return u @ np.diag(s) @ vt


@pytest.mark.parametrize("shape", [(6, 6), (4, 7), (3, 20), (20, 3), (9, 4), (1, 5)], ids=str)
def test_orthogonal_is_a_polynomial_of_the_singular_values(shape):
    matrices = random(3, *shape)
    for got, matrix in zip(orthogonal(matrices), matrices, strict=True):
        np.testing.assert_allclose(got, by_decomposition(matrix.numpy()), atol=1e-3)


def test_singular_values_come_near_one():
    u, _, vt = torch.linalg.svd(random(1, 12, 30), full_matrices=False)
    spread = u @ torch.diag(torch.logspace(0, -2.5, 12, dtype=torch.float64)) @ vt
    values = torch.linalg.svdvals(orthogonal(spread))
    assert 0.4 < float(values.min()) < float(values.max()) < 1.6


@pytest.mark.parametrize("size", [0.0, 1e-40, 1e-22, 1e-12])
@pytest.mark.parametrize("shape", [(3, 4), (3, 9)], ids=str)
def test_a_gradient_that_vanishes_moves_hardly_anything(size, shape):
    """Its square is none in single precision; what it is divided by must not be."""
    step = orthogonal(size * random(2, *shape))
    assert float(step.abs().max()) <= 3e10 * size


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="needs torch.optim.Muon, of PyTorch 2.9 and later")
def test_steps_are_torchs_but_for_its_precision_and_polynomials():
    """Both approximate the same orthogonal factor: steps agree in direction and, for square matrices, about in size."""
    ours, theirs = (nn.Parameter(random(24, 24, dtype=torch.float32)) for _ in range(2))
    start = ours.detach().clone()
    mine, other = Muon([ours], 0.1), torch.optim.Muon([theirs], lr=0.1, momentum=MOMENTUM, weight_decay=0.0)
    for step in range(3):
        ours.grad = random(24, 24, seed=step + 1, dtype=torch.float32)
        theirs.grad = ours.grad.clone()
        mine.step()
        other.step()
    moved, expected = ours.detach() - start, theirs.detach() - start
    assert float(torch.cosine_similarity(moved.flatten(), expected.flatten(), dim=0)) > 0.9
    assert float(moved.norm() / expected.norm()) == pytest.approx(1.0, abs=0.3)


def test_matrices_of_one_shape_go_together_as_they_would_alone():
    together = [nn.Parameter(random(5, 8)), nn.Parameter(random(3, 5, 8, seed=1)), nn.Parameter(random(8, 5, seed=2))]
    alone = copy.deepcopy(together)
    for k, parameter in enumerate(together):
        parameter.grad = random(*parameter.shape, seed=k + 5)
        alone[k].grad = parameter.grad.clone()
    Muon(together, 0.1).step()
    for parameter in alone:
        Muon([parameter], 0.1).step()
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("shape", "widths"), [((90, 140), (47, 47, 46)), ((2, 100, 81), (41, 40)), ((170, 80), (80,)),
                                               ((80, 170), (170,))], ids=str)
def test_matrices_that_are_large_both_ways_move_by_groups_of_columns(shape, widths):
    assert max(widths) <= WIDEST or min(shape[-2:]) <= WHOLE
    matrix = nn.Parameter(torch.zeros(shape, dtype=torch.float64))
    matrix.grad = random(*shape)
    Muon([matrix], 1.0).step()
    for moved, gradient in zip(matrix.detach().split(widths, -1), matrix.grad.split(widths, -1), strict=True):
        expected = -orthogonal(gradient.reshape(-1, *gradient.shape[-2:])).view(gradient.shape)
        torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-4)


def test_each_parameter_has_one_optimizer_and_only_matrices_have_muon():
    config = ModelConfig(("H", "O"), 4.0, "float64", SmoothConfig(neuron=(3, 6), axis_neuron=2),
                         FittingNetConfig((5, 5)))
    model = DeepPotential(config)
    adam, muon = optimizers(model, "muon", 2e-3, 1e-2)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    of_muon = {names[id(p)] for p in muon.param_groups[0]["params"]}
    of_adam = {names[id(p)] for p in adam.param_groups[0]["params"]}
    assert of_muon == {"descriptor.embedding.layers.1.weight",
                       *(f"fitting_net.nets.{t}.0.layers.{n}.weight" for t in range(2) for n in range(2))}
    assert of_adam == set(names.values()) - of_muon
    assert [optimizer.param_groups[0]["initial_lr"] for optimizer in (adam, muon)] == [2e-3, 1e-2]
    assert [type(one) for one in optimizers(model, "adam", 2e-3, 1e-2)] == [torch.optim.Adam]


def test_state_goes_on_where_it_was_saved():
    whole, first = (nn.Parameter(random(4, 6)) for _ in range(2))
    one, other = Muon([whole], 0.1), Muon([first], 0.1)
    gradients = [random(4, 6, seed=k) for k in range(4)]
    for k, gradient in enumerate(gradients):
        whole.grad = gradient
        one.step()
        if k == 2:
            second = nn.Parameter(first.detach().clone())
            state, other = other.state_dict(), Muon([second], 0.1)
            other.load_state_dict(copy.deepcopy(state))
            first = second
        first.grad = gradient
        other.step()
    assert torch.equal(whole, first)
