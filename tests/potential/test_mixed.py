"""A first layer with small products in single precision: the double-precision layer to what it says."""

import numpy as np
import pytest
import torch
from builders import needs_numba, predict, random_atoms, random_model

from ase_deeppot.potential import mixed
from ase_deeppot.potential.archive import script
from ase_deeppot.potential.directions import SINGLE
from ase_deeppot.potential.folded import FoldedProducts, ResponseLayer, ResponseNet
from ase_deeppot.potential.folding import fold
from ase_deeppot.potential.mixed import MixedLayer, with_single_precision


def layer(n_in, n_out, activation="tanh", timestep=False, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    weight, bias, idt = (torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)
                         for shape in ((n_in, n_out), (n_out,), (n_out,)))
    return ResponseLayer(weight / n_in**0.5, bias, idt if timestep else None, activation, 0)


@pytest.mark.parametrize("timestep", [False, True])
@pytest.mark.parametrize("activation", ["tanh", "gelu"])
@pytest.mark.parametrize("n_large", [0, 3, 20])
def test_layer_is_the_same_but_for_the_rounding_of_small_inputs(activation, timestep, n_large):
    whole = layer(20, 7, activation, timestep)
    split = MixedLayer(whole, n_large)
    rng = np.random.default_rng(0)
    x, g = torch.from_numpy(rng.normal(size=(9, 20))), torch.from_numpy(rng.normal(size=(9, 7)))
    x[:, n_large:] *= 1e-4
    (y, slope), (expected, expected_slope) = split(x), whole(x)
    assert y.dtype == slope.dtype == torch.float64
    for part, other in ((y, expected), (slope, expected_slope)):
        np.testing.assert_allclose(part, other, rtol=0, atol=20 * 1e-4 * SINGLE)
    assert n_large == 20 or (y != expected).any()
    back, expected = split.backward(g, slope), whole.backward(g, expected_slope.clone())
    np.testing.assert_allclose(back[:, :n_large], expected[:, :n_large], rtol=0, atol=20 * 1e-4 * SINGLE)
    np.testing.assert_allclose(back[:, n_large:], expected[:, n_large:], rtol=0, atol=50 * SINGLE)


def parts(dtype, l_max=1):
    """Of 16 directions, all pairs of which are taken: 136 products, 16 of them large."""
    zeros = [torch.zeros(shape, dtype=dtype) for shape in ((8, 16), (8, 16), (16,), (l_max - 1, 8, 4))]
    return [FoldedProducts(*zeros, [16] * 16, [a + 1 for a in range(16)], 2)]


def net(first, dtype=torch.float64):
    return ResponseNet([first, layer(7, 7, dtype=dtype)], torch.ones(7, dtype=dtype), torch.zeros(()))


def test_where_it_pays():
    found = with_single_precision(net(layer(136, 7)), parts(torch.float64))
    assert isinstance(found.layers[0], MixedLayer)
    assert (found.layers[0].n_large, found.layers[0].small.shape) == (16, (120, 7))
    z = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 136)))
    z[:, 16:] *= 1e-4
    for runs in (found, script(found)):
        for one, other in zip(runs(z), net(layer(136, 7))(z), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-6 if one.dim() > 1 else 1e-9)


@pytest.mark.parametrize(("first", "of", "dtype"), [
    (layer(136, 7, dtype=torch.float32), parts(torch.float32), torch.float32),  # nothing to gain
    (layer(138, 7), parts(torch.float64), torch.float64),  # parameters beside the products
    (layer(136, 7), parts(torch.float64, l_max=2), torch.float64),
    (layer(272, 7), parts(torch.float64) * 2, torch.float64),
])
def test_where_it_does_not(first, of, dtype):
    plain = net(first, dtype)
    assert with_single_precision(plain, of) is plain


def test_a_first_layer_with_a_shortcut_and_a_net_without_layers_stay():
    with_shortcut = layer(136, 7)
    with_shortcut.shortcut = torch.zeros(136, 7, dtype=torch.float64)
    for plain in (net(with_shortcut), ResponseNet([], torch.ones(136, dtype=torch.float64), torch.zeros(()))):
        assert with_single_precision(plain, parts(torch.float64)) is plain


@needs_numba
def test_models_give_what_they_gave(monkeypatch):
    """A smooth model with enough directions, compiled, against torch, where all is in double precision."""
    model, atoms = random_model(neuron=(8, 16), axis_neuron=8, l_max=1, order=24, activation="tanh"), random_atoms(20)
    monkeypatch.setattr(mixed, "FEWEST", 1)
    for species in fold(model.module).species:
        assert isinstance(with_single_precision(species.net, list(species.parts)).layers[0], MixedLayer)
    got, expected = predict(model, atoms, compiled=True), predict(model, atoms, compiled=False)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-9)
    assert (got.energies != expected.energies).any()
