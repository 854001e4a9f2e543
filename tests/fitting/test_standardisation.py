"""Mean and spread of descriptors, against the plain definition atom by atom."""

import builders
import numpy as np
import oracles
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.sources import read_frames
from ase_deeppot.fitting.standardisation import recentre, standardise

TYPE_MAP = ("H", "O")


def dataset_of(images):
    for atoms in images:
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0)
    return Dataset(read_frames(images)[0], TYPE_MAP, 4.0)


def descriptors(model, images):
    """[n, width] for each species, by the oracle."""
    p, found = oracles.parameters_of(model), ([], [])
    for atoms in images:
        types = builders.types_in(model, atoms)
        for i, mine in enumerate(oracles.neighbors(atoms.positions, atoms.cell[:], atoms.pbc, 4.0)):
            found[types[i]].append(oracles.descriptor(p, types, i, mine).reshape(-1))
    return [np.array(of_species) for of_species in found]


@pytest.fixture(scope="module")
def images():
    return [builders.random_atoms(n, seed=n) for n in (5, 7, 6)]


@pytest.mark.parametrize("third", [0, 2])
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_mean_and_spread_are_those_of_the_descriptors(images, precision, third):
    model = builders.random_model(precision=precision, bispectrum_neuron=third)
    standardise(model.module, dataset_of(images))
    expected = descriptors(model, images)
    net, tolerance = model.module.fitting_net, 1e-9 if precision == "float64" else 1e-4
    for t in range(2):
        np.testing.assert_allclose(net.mean[t], expected[t].mean(0), atol=tolerance * abs(expected[t]).max())
    spread = np.concatenate([part - part.mean(0) for part in expected])[:, :44]  # without the bispectrum
    assert float(net.scale) == pytest.approx(np.sqrt(np.mean(spread**2)), rel=tolerance)


def test_species_that_are_known_keep_what_they_have(images):
    model = builders.random_model()
    before, scale = model.module.fitting_net.mean.clone(), float(model.module.fitting_net.scale)
    standardise(model.module, dataset_of(images), known=1)
    net = model.module.fitting_net
    assert torch.equal(net.mean[0], before[0])
    np.testing.assert_allclose(net.mean[1], descriptors(model, images)[1].mean(0), atol=1e-10)
    assert float(net.scale) == scale


def test_a_species_that_is_not_there_has_mean_zero(images):
    model = builders.random_model()
    oxygen = [Atoms("O" * len(atoms), atoms.positions, cell=atoms.cell, pbc=True) for atoms in images]
    standardise(model.module, dataset_of(oxygen))
    assert not model.module.fitting_net.mean[0].any()
    assert model.module.fitting_net.mean[1].any()


def test_environments_that_are_all_alike_are_not_blown_up():
    model = builders.random_model()
    standardise(model.module, dataset_of([bulk("O", "fcc", a=3.6)]))
    size = np.sqrt(np.mean(descriptors(model, [bulk("O", "fcc", a=3.6)])[1] ** 2))
    assert float(model.module.fitting_net.scale) == pytest.approx(1e-3 * size)


def test_descriptors_that_vanish_are_left_alone():
    model = builders.random_model()
    with torch.no_grad():
        for parameter in model.module.descriptor.parameters():
            parameter.zero_()
    standardise(model.module, dataset_of([bulk("O", "fcc", a=3.6)]))
    assert float(model.module.fitting_net.scale) == 1.0


@pytest.mark.parametrize("neuron", [(10, 10), (5,), ()], ids=str)
def test_a_new_mean_leaves_the_model_as_it_was(images, neuron):
    model = builders.random_model(fitting_neuron=neuron)
    before = [builders.predict(model, atoms, eager=True) for atoms in images]
    dataset = dataset_of(images)
    types, geometry = torch.from_numpy(dataset.types_of_frame(1)), model.module.descriptor.geometry()
    recentre(model.module, types, dataset.environment(1, geometry).features)
    for got, expected in zip((builders.predict(model, atoms, eager=True) for atoms in images), before, strict=True):
        np.testing.assert_allclose(got.energies, expected.energies, atol=1e-10)
        np.testing.assert_allclose(got.forces, expected.forces, atol=1e-10)
    for t, found in enumerate(descriptors(model, images[1:2])):
        np.testing.assert_allclose(model.module.fitting_net.mean[t], found.mean(0), atol=1e-10)


def test_a_first_layer_with_a_shortcut_keeps_its_mean(images):
    """The descriptor has 24 components, and what the shortcut loses no bias makes up for."""
    model, dataset = builders.random_model(l_max=1, fitting_neuron=(24, 10)), dataset_of(images)
    before = model.module.fitting_net.mean.clone()
    features = dataset.environment(1, model.module.descriptor.geometry()).features
    recentre(model.module, torch.from_numpy(dataset.types_of_frame(1)), features)
    assert torch.equal(model.module.fitting_net.mean, before)
