"""The derivatives that the running form of a model writes out, against those of plain formulas."""

from itertools import pairwise

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ase_deeppot.potential.folded import FoldedProducts, FoldedSpecies, ResponseLayer, ResponseNet

ACTIVATIONS = ["tanh", "gelu", "silu", "softplus", "sigmoid", "silut:0.5"]

width = st.integers(1, 5)


class Plain:
    """A layer in NumPy: ``x C + idt * act(x W + b)``."""

    def __init__(self, rng, n_in, n_out, activation, timestep, mixed):
        self.weight, self.bias = rng.normal(size=(n_in, n_out)) / np.sqrt(n_in), rng.normal(size=n_out)
        self.idt = rng.normal(size=n_out) if timestep else None
        self.activation = activation
        self.copies = n_out // n_in if n_out in (n_in, 2 * n_in) and not mixed else 0
        self.shortcut = np.concatenate([np.eye(n_in)] * self.copies, axis=1) if self.copies else np.zeros((n_in, n_out))
        self.mixed = rng.normal(size=(n_in, n_out)) if mixed else None
        if mixed:
            self.shortcut = self.mixed

    def __call__(self, x):
        y = oracles.activate(x @ self.weight + self.bias, self.activation)
        return x @ self.shortcut + (y if self.idt is None else y * self.idt)

    def written_out(self, dtype):
        tensors = [None if array is None else torch.from_numpy(array).to(dtype)
                   for array in (self.weight, self.bias, self.idt, self.mixed)]
        return ResponseLayer(*tensors[:3], self.activation, self.copies, tensors[3])


def net(widths, activation, timestep, mixed, seed, dtype=torch.float64):
    """The same net in NumPy, as a function of rows, and as it runs; ``mixed``: with a first layer as folding makes."""
    rng = np.random.default_rng(seed)
    layers = [Plain(rng, *pair, activation, timestep, mixed and k == 0)
              for k, pair in enumerate(pairwise(widths))]
    output = rng.normal(size=widths[-1])

    def energies(z):
        for layer in layers:
            z = layer(z)
        return z @ output - 3.5

    parts = [layer.written_out(dtype) for layer in layers]
    return energies, ResponseNet(parts, torch.from_numpy(output).to(dtype), torch.tensor(-3.5, dtype=torch.float64))


@given(widths=st.lists(width, min_size=1, max_size=5), rows=st.integers(0, 3), timestep=st.booleans(),
       mixed=st.booleans(), seed=st.integers(0, 100), activation=st.sampled_from(ACTIVATIONS))
def test_net_gives_energies_and_their_derivative(widths, rows, timestep, mixed, seed, activation):
    plain, written_out = net(widths, activation, timestep, mixed, seed)
    z = np.random.default_rng(seed).normal(size=(rows, widths[0]))
    energies, slope = written_out(torch.from_numpy(z.copy()))
    np.testing.assert_allclose(energies, plain(z), rtol=1e-11, atol=1e-12)
    expected = oracles.complex_step(lambda dz: plain(z + dz).sum(), z.shape)
    np.testing.assert_allclose(slope, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("n_in", "n_out"), [(3, 3), (3, 6), (3, 4)])
@pytest.mark.parametrize("timestep", [True, False])
@pytest.mark.parametrize("mixed", [True, False])
def test_layers_with_every_shortcut(n_in, n_out, timestep, mixed):
    rng = np.random.default_rng(n_out)
    plain = Plain(rng, n_in, n_out, "tanh", timestep, mixed)
    x, g = rng.normal(size=(4, n_in)), rng.normal(size=(4, n_out))
    layer = plain.written_out(torch.float64)
    y, slope = layer(torch.from_numpy(x))
    np.testing.assert_allclose(y, plain(x), atol=1e-14)
    expected = oracles.complex_step(lambda dx: (g * plain(x + dx)).sum(), x.shape)
    np.testing.assert_allclose(layer.backward(torch.from_numpy(g), slope), expected, atol=1e-13)


def test_net_in_single_precision_gives_double_energies():
    plain, written_out = net([4, 4, 8], "tanh", True, True, 0, torch.float32)
    z = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    energies, slope = written_out(torch.from_numpy(z))
    assert (energies.dtype, slope.dtype) == (torch.float64, torch.float32)
    np.testing.assert_allclose(energies, plain(z.astype(float)), atol=1e-5)


def test_input_and_weights_are_not_used_up():
    _, written_out = net([3, 3, 6], "tanh", True, False, 0)
    z = torch.randn(4, 3, dtype=torch.float64)
    before = z.clone(), {key: value.clone() for key, value in written_out.state_dict().items()}
    first, again = written_out(z), written_out(z)
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert torch.equal(z, before[0])
    for key, value in written_out.state_dict().items():
        assert torch.equal(value, before[1][key]), key


@given(ranks=st.tuples(st.integers(1, 6), st.integers(1, 4)), l_max=st.integers(1, 5), data=st.data(),
       n=st.integers(0, 3), seed=st.integers(0, 100))
def test_species_give_the_derivative_by_the_moments(ranks, l_max, data, n, seed):
    axes = [data.draw(st.integers(1, rank)) for rank in ranks]
    ends = [data.draw(st.integers(a, ranks[0])) for a in range(axes[0])]
    large = [data.draw(st.integers(a, end)) for a, end in enumerate(ends)]
    rng, (n_types, order) = np.random.default_rng(seed), (2, 4)
    shapes = (8, ranks[0]), (8, ranks[0]), (ranks[0],), (l_max - 1, 8, ranks[1])
    matrices = radial, angular, constant, higher = [rng.normal(size=shape) / 3 for shape in shapes]
    every = [ranks[1]] * axes[1]
    pairs = [[(a, r) for first, last in ((range(len(end)), middle), (middle, end)) for a in range(len(end))
              for r in range(first[a], last[a])] for middle, end in ((large, ends), (every, every))]
    plain, written_out = net([len(pairs[0]) + (l_max - 1) * len(pairs[1]), 5], "tanh", False, False, seed)
    species = FoldedSpecies([FoldedProducts(*map(torch.from_numpy, matrices), ends, large, axes[1])], written_out)
    p = rng.normal(size=(n, (l_max + 1) ** 2, n_types, order))

    def energies(p):
        flat = p.reshape(n, (l_max + 1) ** 2, n_types * order)
        y = np.concatenate([flat[:, :1] @ radial + constant, flat[:, 1:4] @ angular], axis=1)
        z = [np.sum(y[:, :, a] * y[:, :, r], axis=1) for a, r in pairs[0]]
        for l, matrix in enumerate(higher, 2):  # noqa: E741
            y = flat[:, l * l : (l + 1) ** 2] @ matrix
            z += [np.sum(y[:, :, a] * y[:, :, r], axis=1) for a, r in pairs[1]]
        return plain(np.reshape(z, (len(z), n)).T)

    got, (k,) = species([torch.from_numpy(p)])
    np.testing.assert_allclose(got, energies(p), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(k, oracles.complex_step(lambda dp: energies(p + dp).sum(), p.shape), atol=1e-11)
