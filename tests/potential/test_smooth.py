"""The descriptor against the reference definition with its slots."""

import numpy as np
import oracles
import pytest
import torch
from builders import random_atoms, random_model, types_in
from hypothesis import given
from hypothesis import strategies as st

from ase_deeppot.neighbors import neighbor_pairs
from ase_deeppot.potential.moments import blocks, moments


def describe(model, atoms):
    pairs = neighbor_pairs(atoms.positions, atoms.cell[:], atoms.pbc, model.card.rcut)
    types = types_in(model, atoms)
    return descriptors(model, types, pairs)


def descriptors(model, types, pairs):
    """[N, width], through the moments."""
    descriptor, types = model.module.descriptor, torch.from_numpy(types)
    i, types_j, vectors = map(torch.from_numpy, (pairs.i, types.numpy()[pairs.j], pairs.vectors))
    with torch.no_grad():
        parts = blocks(descriptor.basis(), len(types), descriptor.n_types, i, types_j, vectors, descriptor.dtype)
        p = moments(parts)
        of_species = descriptor([p[types == t] for t in range(descriptor.n_types)])
    result = np.empty((len(types), descriptor.width))
    for t, rows in enumerate(of_species):
        result[types.numpy() == t] = rows.numpy()
    return result


def expected(model, atoms):
    p, types = oracles.parameters_of(model), types_in(model, atoms)
    around = oracles.neighbors(atoms.positions, atoms.cell[:], atoms.pbc, p.rcut)
    return np.array([oracles.descriptor(p, types, i, mine).reshape(-1) for i, mine in enumerate(around)])


@given(n_types=st.integers(1, 3), n=st.integers(1, 7), one_side=st.booleans(), timestep=st.booleans(),
       neuron=st.lists(st.integers(1, 6), min_size=1, max_size=3), l_max=st.integers(1, 6), data=st.data(),
       seed=st.integers(0, 1000), activation=st.sampled_from(["tanh", "gelu", "silu", "softplus", "sigmoid"]))
def test_descriptor_is_the_reference_definition(n_types, n, one_side, timestep, neuron, l_max, data, seed, activation):
    symbols = ("H", "O", "Cu")[:n_types]
    axis = data.draw(st.integers(1, neuron[-1]))
    model = random_model(symbols, seed=seed, rcut=3.0, sel=range(30, 30 + n_types), neuron=tuple(neuron),
                         axis_neuron=axis, type_one_side=one_side, resnet_dt=timestep, activation=activation,
                         l_max=l_max, bispectrum_neuron=min(1, l_max - 1, axis, neuron[-1]))
    atoms = random_atoms(n, symbols, seed=seed, pbc=data.draw(st.tuples(*[st.booleans()] * 3)))
    got = describe(model, atoms)
    assert got.shape == (n, model.module.descriptor.width)
    np.testing.assert_allclose(got, expected(model, atoms), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("one_side", [True, False])
def test_statistics_belong_to_the_centre_and_sel_to_the_neighbor(one_side):
    model = random_model(sel=[31, 44], type_one_side=one_side)
    before = expected(model, atoms := random_atoms(6))
    np.testing.assert_allclose(describe(model, atoms), before, rtol=1e-9, atol=1e-12)
    for name in ("davg", "dstd", "sel"):
        changed = random_model(sel=[31, 44], type_one_side=one_side)
        getattr(changed.module.descriptor, name)[1] *= 2
        assert abs(describe(changed, atoms) - before).max() > 1e-6, name
        np.testing.assert_allclose(describe(changed, atoms), expected(changed, atoms), rtol=1e-9, atol=1e-12)


def test_pairs_beyond_the_cutoff_contribute_nothing():
    model, atoms = random_model(), random_atoms(6)
    wide = neighbor_pairs(atoms.positions, atoms.cell[:], atoms.pbc, model.card.rcut + 2.0)
    types = types_in(model, atoms)
    np.testing.assert_allclose(descriptors(model, types, wide), describe(model, atoms), rtol=1e-9, atol=1e-12)


def test_isolated_atom_has_the_descriptor_of_empty_slots():
    model, atoms = random_model(), random_atoms(1, ["O"], pbc=False)
    got = describe(model, atoms)
    assert abs(got).max() > 0
    np.testing.assert_allclose(got, expected(model, atoms), rtol=1e-9)


CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) / np.sqrt(3)
TETRAHEDRON = CUBE[[0, 3, 5, 6]]
SQUARE = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])
TURN = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])


@pytest.mark.parametrize(("one", "other", "seen_from"), [
    (TETRAHEDRON, SQUARE, 2), (CUBE, np.concatenate([TETRAHEDRON, TETRAHEDRON @ TURN]), 3)])
@pytest.mark.parametrize("l_max", [1, 2, 3])
def test_what_lower_orders_cannot_tell_apart(one, other, seen_from, l_max):
    """Neighbours at one distance: the moments of both differ from the order ``seen_from`` on."""
    model = random_model(l_max=l_max)
    difference = abs(energy_amid(model, one) - energy_amid(model, other))
    assert difference > 1e-4 if l_max >= seen_from else difference < 1e-12


def energy_amid(model, directions):
    """Of an atom among others, 2 A from each."""
    types, i = torch.tensor([0]), torch.zeros(len(directions), dtype=torch.int64)
    return float(model.module(types, i, torch.ones_like(i), torch.from_numpy(2.0 * directions))[0].detach())


@pytest.mark.parametrize(("third", "l_max"), [(0, 3), (2, 2), (2, 3)])
def test_what_pairs_of_neighbors_cannot_tell_apart(third, l_max):
    """Two sets of four out of eight places on a circle that have the same angles between two, but not among three."""
    one, other = (np.array([[np.cos(k * np.pi / 4), np.sin(k * np.pi / 4), 0] for k in places])
                  for places in ((0, 1, 3, 4), (0, 1, 2, 5)))
    np.testing.assert_allclose(*(np.sort((u @ u.T).ravel()) for u in (one, other)), atol=1e-15)
    model = random_model(l_max=l_max, bispectrum_neuron=third)
    difference = abs(energy_amid(model, one) - energy_amid(model, other))
    assert difference > 1e-6 if third else difference < 1e-12
