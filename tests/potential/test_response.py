"""Energy and its derivative, and the derivative of both, against automatic differentiation of the plain definition."""

import pytest
import torch
from builders import needs_numba, random_model

from ase_deeppot.potential.response import respond

N, ORDER = 5, 8


def plain(model, p):
    """E and K of atoms of species 0 from the modules themselves, differentiated by torch."""
    p = p.clone().requires_grad_(True)
    descriptor = model.descriptor([p, p[:0]])[0]
    x = (descriptor - model.fitting_net.mean[0].to(p.dtype)) / model.fitting_net.scale.to(p.dtype)
    energies = model.fitting_net.nets[0](x)[:, 0]
    return energies, torch.autograd.grad(energies.sum(), p, create_graph=True)[0]


def written_out(model, p):
    hidden, output = model.fitting_net.nets[0]
    scale = float(model.fitting_net.scale)
    slots = float(model.descriptor.sel.sum()) * scale**0.5
    mean = (model.fitting_net.mean[0] / scale).to(p.dtype)
    descriptor = model.descriptor
    return respond(p, descriptor.series().of(0), mean, list(hidden.layers), output, descriptor.axes, slots,
                   descriptor.coupled())


def in_loops(model, p):
    """Of the first species among others."""
    types = torch.zeros(len(p), dtype=torch.int64)
    return model.descriptor.respond_together(model.fitting_net, types, p, None)


ways = pytest.mark.parametrize("way", [written_out, pytest.param(in_loops, marks=needs_numba)])


def weight_gradients(model, energies, k, seed):
    generator = torch.Generator().manual_seed(seed)
    e_bar, v = (torch.randn(x.shape, generator=generator, dtype=x.dtype) for x in (energies, k))
    value = (e_bar * energies).sum() + (v * k).sum()
    return torch.autograd.grad(value, list(model.parameters()), allow_unused=True)


@ways
@pytest.mark.parametrize("activation", ["tanh", "gelu", "silu", "softplus", "sigmoid", "silut:0.5"])
@pytest.mark.parametrize("l_max", [1, 3])
@pytest.mark.parametrize("neuron", [(10, 7), (10, 10), (10, 20), (24, 24), (12, 12), (48,), ()], ids=str)
def test_response_is_that_of_automatic_differentiation(activation, neuron, l_max, way):
    """With shortcuts of all kinds: the descriptor has 24 components."""
    shape = {"axis_neuron": 3} if l_max == 1 else {"axis_neuron": 1, "higher_neuron": 4, "higher_axis_neuron": 2}
    model = random_model(fitting_neuron=neuron, fitting_activation=activation, order=ORDER, l_max=l_max, **shape).module
    assert model.descriptor.width == 24
    p = torch.randn(N, (l_max + 1) ** 2, 2, ORDER, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert_alike(model, way(model, p), plain(model, p))


@ways
@pytest.mark.parametrize("neuron", [(10, 7), (12, 12), ()], ids=str)
@pytest.mark.parametrize("l_max", [2, 3, 5])
def test_response_of_a_bispectrum(neuron, l_max, way):
    model = random_model(fitting_neuron=neuron, order=ORDER, l_max=l_max, bispectrum_neuron=2).module
    p = torch.randn(N, (l_max + 1) ** 2, 2, ORDER, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert_alike(model, way(model, p), plain(model, p))


def assert_alike(model, got, expected):
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)
    for one, other in zip(weight_gradients(model, *got, 2), weight_gradients(model, *expected, 2), strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


@ways
def test_without_timesteps_and_in_single_precision(way):
    model = random_model(fitting_resnet_dt=False, order=ORDER, precision="float32").module
    p = torch.randn(N, 16, 2, ORDER, generator=torch.Generator().manual_seed(1))
    expected, got = plain(model, p), way(model, p)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    for one, other in zip(weight_gradients(model, *got, 2), weight_gradients(model, *expected, 2), strict=True):
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3 * float(other.abs().max()))
