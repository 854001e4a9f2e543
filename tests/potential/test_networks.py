import typing

import numpy as np
import oracles
import pytest
import torch
from builders import random_model
from hypothesis import given
from hypothesis import strategies as st

from ase_deeppot.potential.config import Activation, FittingNetConfig
from ase_deeppot.potential.fitting_net import FittingNet
from ase_deeppot.potential.networks import (
    ParallelNets,
    ResidualLayer,
    ResidualNet,
    activate,
    activate_with_slope,
    curvature,
)
from ase_deeppot.potential.silut import silut, silut_with_slope

ACTIVATIONS = ["tanh", "gelu", "silu", "softplus", "sigmoid", "linear", "relu", "relu6", "silut", "silut:0.5"]
width = st.integers(1, 6)


def plain(layer):
    arrays = (layer.weight, layer.bias, layer.idt)
    return oracles.Layer(*(None if array is None else array.detach().numpy() for array in arrays))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation):
    x = np.linspace(-6.0, 6.0, 49)
    got = activate(torch.from_numpy(x), activation).numpy()
    np.testing.assert_allclose(got, oracles.activate(x, activation), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_with_their_slopes(activation, dtype, tolerance):
    x = np.linspace(-8.0, 8.0, 65)
    value, slope = activate_with_slope(torch.tensor(x, dtype=dtype), activation)
    assert value.dtype == slope.dtype == dtype
    np.testing.assert_allclose(value, oracles.activate(x, activation), rtol=tolerance, atol=tolerance)
    expected = oracles.activate(x + 1e-30j, activation).imag / 1e-30
    np.testing.assert_allclose(slope, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_curvature_is_the_slope_of_the_slope(activation):
    x = torch.linspace(-8.0, 8.0, 64, dtype=torch.float64)  # without 0, 0.5, 3 and 6, where some have kinks
    y, slope = activate_with_slope(x.clone(), activation)
    above, below = (activate_with_slope(x + step, activation)[1] for step in (1e-5, -1e-5))
    torch.testing.assert_close(curvature(x.clone(), y, slope, activation), (above - below) / 2e-5, rtol=0, atol=1e-8)


@pytest.mark.parametrize("threshold", [-2.0, -1e-3, 0.0, 0.5, 3.0, 40.0])
def test_silut_goes_on_where_silu_ends(threshold):
    at = torch.tensor([threshold], dtype=torch.float64)
    for got, expected in zip(silut_with_slope(at, threshold), activate_with_slope(at.clone(), "silu"), strict=True):
        torch.testing.assert_close(got, expected)
    x = torch.linspace(threshold - 5.0, threshold - 1e-9, 50, dtype=torch.float64)
    torch.testing.assert_close(silut(x, threshold), torch.nn.functional.silu(x))
    far = silut(at + 1e4, threshold) - silut(at, threshold)
    torch.testing.assert_close(far, torch.sign(silut_with_slope(at, threshold)[1]))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_are_finite_far_out(activation):
    x = torch.tensor([-1e4, -300.0, 300.0, 1e4])
    value, slope = activate_with_slope(x.clone(), activation)
    torch.testing.assert_close(value, activate(x, activation))
    flat, straight = ("tanh", "sigmoid", "relu6", "silut", "silut:0.5"), ("linear",)
    expected = [0, 0, 0, 0] if activation in flat else [1, 1, 1, 1] if activation in straight else [0, 0, 1, 1]
    torch.testing.assert_close(slope, slope.new_tensor(expected))


def test_every_configurable_activation_is_tested_and_different():
    x = torch.tensor([-0.7, 0.7, 7.0], dtype=torch.float64)
    assert set(typing.get_args(typing.get_args(Activation)[0])) < set(ACTIVATIONS)
    assert len({tuple(activate(x, name).tolist()) for name in ACTIVATIONS}) == len(ACTIVATIONS)


@given(widths=st.lists(width, min_size=1, max_size=5), batch=st.integers(0, 4), timestep=st.booleans(),
       activation=st.sampled_from(ACTIVATIONS), seed=st.integers(0, 100))
def test_residual_net(widths, batch, timestep, activation, seed):
    torch.manual_seed(seed)
    net = ResidualNet(widths, activation, timestep, torch.float64)
    x = torch.randn(batch, widths[0], dtype=torch.float64)
    layers = [plain(layer) for layer in net.layers]
    y = net(x).detach().numpy()
    assert y.shape == (batch, widths[-1])
    for row, expected in zip(y, x.numpy(), strict=True):
        np.testing.assert_allclose(row, oracles.net_output(layers, expected, activation), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("n_in", "n_out", "has"), [(3, 3, True), (3, 6, True), (3, 4, False)])
def test_timestep_belongs_to_layers_with_a_shortcut(n_in, n_out, has):
    assert (ResidualLayer(n_in, n_out, "tanh", True, torch.float64).idt is not None) == has
    assert ResidualLayer(n_in, n_out, "tanh", False, torch.float64).idt is None


def test_initial_weights_have_the_variance_stated():
    torch.manual_seed(0)
    layer = ResidualLayer(200, 300, "tanh", False, torch.float64)
    assert layer.weight.std().item() == pytest.approx(500**-0.5, rel=0.02)
    assert layer.bias.std().item() == pytest.approx(1.0, rel=0.15)


@given(widths=st.lists(width, min_size=1, max_size=5), count=st.integers(1, 3), batch=st.integers(0, 4),
       timestep=st.booleans(), activation=st.sampled_from(ACTIVATIONS), seed=st.integers(0, 100))
def test_nets_side_by_side_are_each_for_itself(widths, count, batch, timestep, activation, seed):
    torch.manual_seed(seed)
    nets = ParallelNets(count, widths, activation, timestep, torch.float64)
    x = torch.randn(count, batch, widths[0], dtype=torch.float64)
    y = nets(x).detach().numpy()
    assert y.shape == (count, batch, widths[-1])
    for k in range(count):
        layers = [oracles.Layer(*(None if part is None else part[k].detach().numpy()
                                  for part in (layer.weight, layer.bias, layer.idt))) for layer in nets.layers]
        np.testing.assert_allclose(y[k], oracles.net_output(layers, x[k].numpy(), activation), rtol=1e-11, atol=1e-12)


def test_nets_side_by_side_start_as_they_would_alone():
    torch.manual_seed(3)
    nets = ParallelNets(2, (3, 3, 5), "tanh", True, torch.float32)
    torch.manual_seed(3)
    for k in range(2):
        for own, layer in zip(nets.layers, ResidualNet((3, 3, 5), "tanh", True, torch.float32).layers, strict=True):
            assert torch.equal(own.weight[k], layer.weight)
            assert torch.equal(own.bias[k], layer.bias)
            assert (own.idt is None) == (layer.idt is None)
            assert own.idt is None or torch.equal(own.idt[k], layer.idt)


def test_every_species_has_a_net_of_its_own_that_starts_near_zero():
    net = FittingNet(FittingNetConfig((6, 6)), 4, 3, torch.float64)
    parts = [net.parts(t) for t in range(3)]
    assert [[tuple(layer.weight.shape) for layer in layers] for layers, _ in parts] == [[(4, 6), (6, 6)]] * 3
    assert len({layers[0].weight[0, 0].item() for layers, _ in parts}) == 3
    assert all(output.weight.shape == (1, 6) and not bool(output.bias.any()) for _, output in parts)


def test_energies_of_a_float32_model_have_their_bias_added_in_float64():
    model = random_model(precision="float32").module
    model.fitting_net.energy_bias.fill_(-1234.123456789)
    for _, output in map(model.fitting_net.parts, range(2)):
        torch.nn.init.zeros_(output.weight)
    nothing = torch.zeros(0, dtype=torch.int64)
    energies, _ = model(torch.tensor([0, 1]), nothing, nothing, torch.zeros(0, 3, dtype=torch.float64))
    assert energies.tolist() == [-1234.123456789] * 2
