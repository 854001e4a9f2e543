"""The functions that embedding nets give for a pair, and their slopes, against the nets by definition."""

import numpy as np
import oracles
import pytest
import torch
from builders import random_model, random_pairs

from ase_deeppot.potential.moments import blocks, moments

ACTIVATIONS = ["relu", "relu6", "silut", "silut:0.5", "tanh", "gelu", "silu", "softplus", "sigmoid", "linear"]


def nets_of(dtype=torch.float64, **options):
    model = random_model(order=0, l_max=1, **options)
    return model.module.descriptor.pair_nets(dtype), oracles.parameters_of(model)


def functions(p, c, t, s):
    """F [2 M] of a centre c and a neighbour t of weight s."""
    net = p.embedding[t if p.type_one_side else 2 * c + t]
    s0 = np.array([-p.davg[c] / p.dstd[c, 0]])
    g, g0 = (oracles.net_output(net, x, p.activations[0]) for x in (s / p.dstd[c, 0] + s0, s0))
    return np.concatenate([s * g, g - g0])


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("options", [{}, {"type_one_side": False, "resnet_dt": True}, {"neuron": (5, 5, 7)}],
                         ids=["one-side", "two-side", "other widths"])
def test_functions_and_their_slopes(activation, options):
    nets, p = nets_of(activation=activation, **options)
    s = np.random.default_rng(0).uniform(0.02, 1.2, (2, 9))  # of neighbours of one H and one O
    weights = torch.from_numpy(s)
    for t in (0, 1):
        f, slopes = nets.functions(torch.tensor([0, 1]), t, weights, torch.full_like(weights, -0.3))
        assert f.shape == (2, nets.width, 9)
        for c in (0, 1):
            expected = np.array([functions(p, c, t, x) for x in s[c]]).T
            rise = np.array([functions(p, c, t, x + 1e-30j).imag / 1e-30 for x in s[c]]).T
            np.testing.assert_allclose(f[c], expected, rtol=0, atol=1e-13)
            np.testing.assert_allclose(slopes[c], -0.3 * rise, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_blocks_are_those_of_the_series_with_other_functions(dtype):
    nets, _ = nets_of(dtype, activation="relu")
    pairs = random_pairs([3, 0, 2], lengths=(1.2, 3.9))
    arrays = [torch.from_numpy(array) for array in (pairs.types, pairs.i, pairs.types_j, pairs.vectors)]
    for got, series in zip(nets(*arrays), blocks(nets_basis(nets), 3, 2, *arrays[1:], dtype), strict=True):
        for name in ("pairs", "slots", "directions", "angular", "inverse"):
            torch.testing.assert_close(getattr(got, name), getattr(series, name))
        assert got.basis.dtype == got.slopes.dtype == dtype


def nets_basis(nets):
    return random_model(l_max=1, order=nets.basis[0]).module.descriptor.basis()


def test_empty_slots_and_pairs_beyond_the_cutoff_add_nothing():
    nets, _ = nets_of(activation="silut")
    pairs = random_pairs([4, 0, 3], lengths=(4.0, 9.0))
    arrays = [torch.from_numpy(array) for array in (pairs.types, pairs.i, pairs.types_j, pairs.vectors)]
    parts = nets(*arrays)
    np.testing.assert_allclose(moments(parts), 0.0, atol=1e-14)
    assert all((part.slopes == 0.0).all() for part in parts)
