"""Weights of frames, sources and species: read, matched, and in the loss as a sum written out."""

import builders
import numpy as np
import pytest
from ase.io import write

from ase_deeppot.errors import ConfigError, DataError
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.labels import KeyMapping
from ase_deeppot.fitting.loss import Prefactors, loss
from ase_deeppot.fitting.sources import open_frames, read_frames
from ase_deeppot.fitting.weights import frame_weights, species_weights

KEYS = KeyMapping(weight="w")


@pytest.fixture
def weighted(alloys, tmp_path):
    """Two files of two frames, with weights 1 (not said), 4, 2, 0."""
    images = alloys(4, seed=5)
    for atoms, weight in zip(images, (None, 4.0, 2, 0), strict=True):
        if weight is not None:
            atoms.info["w"] = weight
    write(tmp_path / "bulk.extxyz", images[:2])
    write(tmp_path / "surface.extxyz", images[2:])
    return [str(tmp_path / "bulk.extxyz"), str(tmp_path / "surface.extxyz")]


def test_weights_are_read_where_they_are_named(weighted, tmp_path):
    assert read_frames(weighted)[0].weights.tolist() == [1, 1, 1, 1]
    for _ in range(2):  # from the files, then from their cache
        assert open_frames(weighted, KEYS, tmp_path / "cache", 1e9)[0].weights.tolist() == [1, 4, 2, 0]
    assert read_frames(weighted, KEYS)[0].select([3, 1]).weights.tolist() == [0, 4]


@pytest.mark.parametrize(("value", "message"), [(-1.0, "expected a weight >= 0 under 'w', got -1"),
                                                ("heavy", "expected numbers under 'w', got 'heavy'"),
                                                (np.ones(2), r"expected one number under 'w', got shape \(2,\)")])
def test_weights_that_cannot_be_used(alloys, value, message):
    images = alloys(2)
    images[1].info["w"] = value
    with pytest.raises(DataError, match=f"^Atoms in memory frame 1: {message}"):
        read_frames(images, KEYS)


def test_a_weight_that_no_frame_has_is_told(alloys):
    assert 'no weight under "w"' in read_frames(alloys(2), KEYS)[1][0].hint


@pytest.mark.parametrize(("by_source", "expected"), [
    ({}, [1, 4, 2, 0]), ({"surface.extxyz": 3}, [1, 4, 6, 0]), ({"surf*": 3.0, "*": 0.5}, [0.5, 2, 6, 0])])
def test_weights_of_frame_and_source_multiply_and_have_mean_one(weighted, by_source, expected):
    weights = frame_weights(read_frames(weighted, KEYS)[0], by_source)
    np.testing.assert_allclose(weights, np.array(expected) / np.mean(expected))


def test_weights_that_match_nothing(weighted):
    frames, _ = read_frames(weighted)
    with pytest.raises(ConfigError, match=r"^expected data.source_weights to name training sources \(.*'none'$"):
        frame_weights(frames, {"none": 2.0})
    with pytest.raises(DataError, match="got zero for all"):
        frame_weights(frames, {"*": 0.0})
    with pytest.raises(ConfigError, match=r"^expected elements or species of the model \(Cu, Au\) in "
                                         "loss.species_weights, got H"):
        species_weights(("Cu", "Au"), {"H": 1.0})


def test_the_loss_is_the_weighted_sum(weighted, alloys):
    model = builders.random_model(("Cu", "Au"), neuron=(3, 6), axis_neuron=2, fitting_neuron=(5, 5))
    frames, _ = read_frames(weighted, KEYS)
    dataset = Dataset(frames, model.card.type_map, model.card.rcut)
    dataset.weights = frame_weights(frames, {})
    dataset.species_weights = species_weights(("Cu", "Au"), {"Au": 0.25})
    prefactors, indices = Prefactors(3.0, 50.0, 0.7), np.array([0, 3, 2, 1])
    value, _ = loss(model.module, dataset.batch(indices, model.module.descriptor.geometry()), prefactors)
    expected = 0.0
    for atoms, weight in zip(alloys(4, seed=5), np.array([1, 4, 2, 0]) / 1.75, strict=True):
        predicted, n = builders.predict(model, atoms, eager=True), len(atoms)
        of_atom = np.where(atoms.symbols == "Au", 0.25, 1.0)
        energy = ((predicted.energies.sum() - atoms.get_potential_energy()) / n) ** 2
        force = (of_atom * ((predicted.forces - atoms.get_forces()) ** 2).sum(1)).sum() / (3 * n)
        virial = predicted.virials.sum(0) + atoms.get_volume() * atoms.get_stress(voigt=False)
        expected += weight * (3.0 * energy + 50.0 * force + 0.7 * ((virial / n) ** 2).mean()) / 4
    assert float(value.detach()) == pytest.approx(expected, rel=1e-6)


def test_a_frame_without_weight_trains_nothing(train, alloys):
    """Weights change a run; weights that are all the same do not."""
    images = alloys(6)
    plain = train(images, alloys(2), output="plain")
    for atoms in images:
        atoms.info["w"] = 3.0
    same = train(images, alloys(2), output="same", data={"keys": {"weight": "w"}})
    other = train(images, alloys(2), output="other", loss={"species_weights": {"Au": 0.0}})
    errors = [[row.rmse for row in result.validation] for result in (plain, same, other)]
    assert errors[0] == errors[1]
    assert errors[0] != errors[2]
