import numpy as np
import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ase_deeppot.potential.config import FittingNetConfig
from ase_deeppot.potential.fitting_net import FittingNet
from ase_deeppot.potential.networks import NetPerKind, ResidualLayer, ResidualNet, activate

ACTIVATIONS = ["tanh", "gelu", "silu", "softplus", "sigmoid"]
width = st.integers(1, 6)


def plain(layer):
    arrays = (layer.weight, layer.bias, layer.idt)
    return oracles.Layer(*(None if array is None else array.detach().numpy() for array in arrays))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation):
    x = np.linspace(-6.0, 6.0, 49)
    got = activate(torch.from_numpy(x), activation).numpy()
    np.testing.assert_allclose(got, oracles.activate(x, activation), rtol=1e-12, atol=1e-13)


def test_every_configurable_activation_is_tested_and_different():
    x = torch.tensor([0.7], dtype=torch.float64)
    assert len({activate(x, name).item() for name in ACTIVATIONS}) == len(ACTIVATIONS)


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


@pytest.mark.parametrize(("n_in", "n_out", "has"), [(3, 3, True), (3, 6, False), (3, 4, False)])
def test_timestep_belongs_to_layers_of_equal_width(n_in, n_out, has):
    assert (ResidualLayer(n_in, n_out, "tanh", True, torch.float64).idt is not None) == has
    assert ResidualLayer(n_in, n_out, "tanh", False, torch.float64).idt is None


def test_initial_weights_have_the_variance_stated():
    torch.manual_seed(0)
    layer = ResidualLayer(200, 300, "tanh", False, torch.float64)
    assert layer.weight.std().item() == pytest.approx(500**-0.5, rel=0.02)
    assert layer.bias.std().item() == pytest.approx(1.0, rel=0.15)


def test_each_kind_of_row_goes_through_its_own_net():
    nets = [torch.nn.Linear(2, 3, dtype=torch.float64) for _ in range(3)]
    x = torch.randn(5, 2, dtype=torch.float64)
    y = NetPerKind(nets)(x, [2, 0, 3])
    torch.testing.assert_close(y, torch.cat([nets[0](x[:2]), nets[2](x[2:])]))


@given(sizes=st.lists(st.integers(0, 3), min_size=3, max_size=3), neuron=st.lists(width, max_size=3),
       seed=st.integers(0, 100))
def test_fitting_net_has_a_net_and_a_bias_for_each_species(sizes, neuron, seed):
    torch.manual_seed(seed)
    net = FittingNet(FittingNetConfig(tuple(neuron)), 4, 3, torch.float64)
    net.energy_bias.copy_(torch.tensor([1.0, 20.0, 300.0]))
    x = [torch.randn(size, 4, dtype=torch.float64) for size in sizes]
    for t, energies in enumerate(net(x)):
        alone = [net.nets[t](row[None]).item() + [1.0, 20.0, 300.0][t] for row in x[t]]
        np.testing.assert_allclose(energies.detach().numpy(), alone, rtol=1e-12)


def test_energies_of_a_float32_net_are_summed_in_float64():
    net = FittingNet(FittingNetConfig((4,)), 3, 1, torch.float32)
    net.energy_bias.fill_(-1234.123456789)
    (energies,) = net([torch.zeros(2, 3)])
    assert energies.dtype == torch.float64
    torch.nn.init.zeros_(net.nets[0][1].weight)
    assert net([torch.zeros(1, 3)])[0].item() == -1234.123456789
