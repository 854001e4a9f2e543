"""Fitting nets in compiled loops, against the same ones in torch."""

from itertools import pairwise

import builders
import numpy as np
import pytest
import torch
from builders import predict, random_atoms, random_model
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("numba", reason="the loops are compiled with numba")

from ase_deeppot.potential import kernels, packed_net
from ase_deeppot.potential.directions import SINGLE
from ase_deeppot.potential.folded import FoldedProducts, ResponseLayer, ResponseNet
from ase_deeppot.potential.folding import fold
from ase_deeppot.potential.kernels.activations import activate
from ase_deeppot.potential.kernels.compilation import compiled
from ase_deeppot.potential.kernels.exponential import exp
from ase_deeppot.potential.kernels.matrix_products import add_product
from ase_deeppot.potential.networks import activate_with_slope
from ase_deeppot.potential.packed_net import packed, small_inputs
from ase_deeppot.potential.polynomial import Polynomial

ACTIVATIONS = ["tanh", "gelu", "silu", "softplus", "relu", "relu6", "linear", "sigmoid", "silut", "silut:0.5"]
ROUNDING = {"float64": 1e-12, "float32": 3e-5}
dtypes = pytest.mark.parametrize("dtype", ROUNDING)


def layer(rng, n_in, n_out, activation="tanh", timestep=False, first=False, dtype="float64"):
    """As folding makes the first one: with a matrix for a shortcut."""
    weight, bias, idt, shortcut = (torch.from_numpy(rng.normal(size=shape).astype(dtype)) / shape[0] ** 0.5
                                   for shape in ((n_in, n_out), (n_out,), (n_out,), (n_in, n_out)))
    copies = n_out // n_in if n_out in (n_in, 2 * n_in) and not first else 0
    return ResponseLayer(weight, bias, idt if timestep else None, activation, copies, shortcut if first else None)


def net(rng, widths, activation="tanh", timestep=False, first=False, dtype="float64"):
    layers = [layer(rng, *pair, activation, timestep, first and k == 0, dtype)
              for k, pair in enumerate(pairwise(widths))]
    return ResponseNet(layers, torch.from_numpy(rng.normal(size=widths[-1]).astype(dtype)), torch.tensor(-3.5).double())


def with_polynomial(net, rng, pairs):
    """In place of its output."""
    terms = builders.random_terms(len(net.output), pairs, rng)
    polynomial = Polynomial(len(net.output), pairs, len(terms[1]), net.output.dtype)
    builders.fill_polynomial(polynomial, terms, rng)
    return ResponseNet(list(net.layers), net.output, net.bias, polynomial)


def products_of(count_large, count_small, dtype=torch.float64, l_max=1):
    """So many products of one direction with others."""
    zeros = [torch.zeros(shape, dtype=dtype) for shape in ((8, 4), (8, 4), (4,), (l_max - 1, 8, 4))]
    parts = FoldedProducts(*zeros, [4], [1], 2)
    parts.runs = torch.tensor([[0], [count_large], [count_large + count_small]])
    return [parts]


def loops(net, z, parts=None):
    """Energies and dE/dz."""
    n, width = z.shape
    room = np.zeros((kernels.padded(n), width + -width % kernels.LANES), z.dtype)
    room[:n, :width] = z
    energies = np.full(n, np.nan)
    kernels.fitting_net(packed(net, parts or products_of(width, 0)), room, energies)
    return energies, room[:n, :width]


@dtypes
@given(widths=st.lists(st.sampled_from([1, 2, 4, 5, 8, 16, 17, 32, 40]), min_size=1, max_size=5),
       rows=st.integers(0, 8), timestep=st.booleans(), first=st.booleans(), seed=st.integers(0, 100),
       activation=st.sampled_from(ACTIVATIONS))
def test_nets_of_any_shape(dtype, widths, rows, timestep, first, seed, activation):
    rng = np.random.default_rng(seed)
    whole = net(rng, widths, activation, timestep, first, dtype)
    z = rng.normal(size=(rows, widths[0])).astype(dtype)
    expected, found = whole(torch.from_numpy(z.copy())), loops(whole, z)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=ROUNDING[dtype] * (1 + float(abs(other).sum())))


@dtypes
@given(widths=st.lists(st.sampled_from([1, 2, 5, 16, 17, 40]), min_size=2, max_size=3), pairs=st.integers(1, 40),
       rows=st.integers(0, 8), seed=st.integers(0, 100))
def test_polynomials_in_place_of_the_output(dtype, widths, pairs, rows, seed):
    rng = np.random.default_rng(seed)
    whole = with_polynomial(net(rng, widths, "linear", dtype=dtype), rng, pairs)
    z = rng.normal(size=(rows, widths[0])).astype(dtype)
    expected, found = whole(torch.from_numpy(z.copy())), loops(whole, z)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=ROUNDING[dtype] * (1 + float(abs(other).sum())))


@dtypes
@given(rows=st.integers(0, 5), columns=st.integers(0, 9), length=st.integers(0, 40), seed=st.integers(0, 100))
def test_products_of_matrices(dtype, rows, columns, length, seed):
    """More columns than stay in the cache together, rows that lie apart, and what was there before is added to."""
    rng, (rows, columns, length) = np.random.default_rng(seed), (3 * rows, 4 * columns, 16 * length)
    x, matrix, y = (rng.normal(size=shape).astype(dtype)
                    for shape in ((rows, length + 5), (columns, length), (rows, columns + 3)))
    expected = y.copy()
    expected[:, :columns] += x[:, :length].astype(float) @ matrix.T.astype(float)
    flat = np.append(np.full(7, np.nan, dtype), matrix)
    add_product(x.ravel(), length + 5, rows, flat, 7, length, columns, y.ravel(), columns + 3)
    np.testing.assert_allclose(y, expected, rtol=0, atol=100 * ROUNDING[dtype])


@dtypes
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation_functions_and_their_slopes(dtype, activation):
    x = np.append(np.linspace(-30, 30, 1000), [0.0, -200.0, 200.0, -1e30, 1e30]).astype(dtype)
    y, slope = x.copy(), np.full_like(x, np.nan)
    one = net(np.random.default_rng(0), [1, 1], activation)
    activate(packed(one, products_of(1, 0)).layers[0, 3], packed(one, products_of(1, 0)).thresholds[0], y, slope)
    expected = activate_with_slope(torch.from_numpy(x.astype(float)), activation)
    bounded = activation in ("tanh", "sigmoid", "relu")
    reached = slice(None) if bounded else abs(x) < 1e10  # x times what should be zero is not, far out
    for found, other in zip((y, slope), expected, strict=True):
        np.testing.assert_allclose(found[reached], other.numpy()[reached], rtol=ROUNDING[dtype] / 30,
                                   atol=ROUNDING[dtype] / 30)


@dtypes
def test_exponential(dtype):
    """To a rounding of the argument, and as far as it reaches."""
    f = np.dtype(dtype).type

    @compiled
    def all_of(x, y):
        for k in range(len(x)):
            y[k] = exp(x[k], x.dtype.type)

    x = np.linspace(-80, 80, 4001).astype(dtype)
    y = np.empty_like(x)
    all_of(x, y)
    exact = np.exp(x.astype(np.longdouble)).astype(float)
    np.testing.assert_allclose(y.astype(float), exact, rtol=1.5 * float(np.finfo(dtype).eps) * 20)
    near = abs(x) < 1
    np.testing.assert_allclose(y[near].astype(float), exact[near], rtol=2 * float(np.finfo(dtype).eps))
    ends = np.array([-1e30, -81, 81, 1e30, np.inf, -np.inf, np.nan], dtype)
    found = np.empty_like(ends)
    all_of(ends, found)
    np.testing.assert_allclose(found, [y[0], y[0], y[-1], y[-1], y[-1], y[0], f("nan")])


@dtypes
def test_what_is_no_number_comes_through(dtype):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(4, 5)).astype(dtype)
    z[2, 3] = np.nan
    energies, slope = loops(net(rng, [5, 8, 8], dtype=dtype), z)
    np.testing.assert_array_equal(np.isnan(energies), [False, False, True, False])
    assert np.isnan(slope[2]).all()
    assert np.isfinite(slope[[0, 1, 3]]).all()


# Single precision -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("timestep", [False, True])
@pytest.mark.parametrize("n_large", [0, 1, 16, 19])
def test_small_inputs_in_single_precision(timestep, n_large):
    """As all in double precision but for their rounding, and not as that to the digit."""
    rng = np.random.default_rng(0)
    whole = net(rng, [n_large + 70, 12, 12], "tanh", timestep)
    z = rng.normal(size=(7, n_large + 70))
    z[:, n_large:] *= 1e-4
    found, expected = loops(whole, z, products_of(n_large, 70)), whole(torch.from_numpy(z.copy()))
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=70 * 1e-4 * SINGLE)
    assert (found[0] != expected[0].numpy()).all()
    np.testing.assert_allclose(found[1][:, :n_large], expected[1][:, :n_large], rtol=0, atol=70 * 1e-4 * SINGLE)
    np.testing.assert_allclose(found[1][:, n_large:], expected[1][:, n_large:], rtol=0, atol=50 * SINGLE)


RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("of", "parts", "n_small"), [
    (net(RNG, [86, 7]), products_of(16, 70), 70),
    (net(RNG, [86, 7], dtype="float32"), products_of(16, 70, torch.float32), 0),  # nothing to gain
    (net(RNG, [66, 7]), products_of(16, 50), 0),  # too few
    (net(RNG, [88, 7]), products_of(16, 70), 0),  # parameters beside the products
    (net(RNG, [86, 7]), products_of(16, 70, l_max=2), 0),
    (net(RNG, [172, 7]), products_of(16, 70) * 2, 0),
    (net(RNG, [86, 7], first=True), products_of(16, 70), 0),
    (net(RNG, [86]), products_of(16, 70), 0),
], ids=["pays", "single", "few", "parameters", "orders", "parts", "shortcut", "linear"])
def test_where_it_pays(of, parts, n_small):
    assert small_inputs(of, parts) == n_small


def test_models_give_what_they_gave(monkeypatch):
    """A smooth model with enough directions, compiled, against torch, where all is in double precision."""
    model, atoms = random_model(neuron=(8, 16), axis_neuron=8, l_max=1, order=24, activation="tanh"), random_atoms(20)
    monkeypatch.setattr(packed_net, "FEWEST", 1)
    for species in fold(model.module).species:
        assert small_inputs(species.net, list(species.parts)) > 0
    got, expected = predict(model, atoms, compiled=True), predict(model, atoms, compiled=False)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-9)
    assert (got.energies != expected.energies).any()
