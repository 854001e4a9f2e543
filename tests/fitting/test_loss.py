"""The loss of the papers, against a loop over frames and finite differences of it."""

import math

import builders
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ase_deeppot.fitting.config import LearningRateConfig, LossConfig
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.loss import Prefactors, decay, loss, prefactors, warmth
from ase_deeppot.fitting.sources import read_frames

WEIGHTS = Prefactors(3.0, 50.0, 0.7)
ALL = ("energy", "forces", "stress")


@pytest.fixture
def model():
    return builders.random_model(("Cu", "Au"), neuron=(3, 6), axis_neuron=2, fitting_neuron=(5, 5))


def batch_of(images, model):
    frames, _ = read_frames(images)
    dataset = Dataset(frames, model.card.type_map, model.card.rcut)
    return dataset.batch(np.arange(frames.count), model.module.descriptor.geometry())


def slow_loss(model, images, weights):
    """The formula, one frame after the other; each term is a mean over the frames that have its label."""
    terms = {"energy": [], "forces": [], "stress": []}
    for atoms in images:
        predicted, labels, n = builders.predict(model, atoms, eager=True), atoms.calc.results, len(atoms)
        if "energy" in labels:
            terms["energy"].append(((predicted.energies.sum() - labels["energy"]) / n) ** 2)
        if "forces" in labels:
            terms["forces"].append(((predicted.forces - labels["forces"]) ** 2).sum() / (3 * n))
        if "stress" in labels:
            virial = -atoms.get_volume() * atoms.get_stress(voigt=False)
            terms["stress"].append((((predicted.virials.sum(0) - virial) / n) ** 2).sum() / 9)
    means = [np.mean(term) if term else 0.0 for term in terms.values()]
    return float(np.dot(weights, means))


MIXTURES = {"all": [ALL] * 4, "some": [("energy",), ALL, ("forces",), ("energy", "stress"), ("forces", "energy")],
            "only energies": [("energy",)] * 3, "only forces": [("forces",)] * 3, "only stresses": [("stress",)] * 2}


@pytest.mark.parametrize("mixture", MIXTURES)
def test_value_and_gradient(model, alloys, mixture):
    properties = MIXTURES[mixture]
    images = alloys(len(properties), seed=1, properties=properties)
    value, _ = loss(model.module, batch_of(images, model), WEIGHTS)
    torch.autograd.backward(value)
    value = float(value.detach())
    assert value == pytest.approx(slow_loss(model, images, WEIGHTS), rel=1e-11)
    rng = np.random.default_rng(0)
    for name, parameter in model.module.named_parameters():
        assert bool(parameter.grad.isfinite().all()), name
        where = tuple(int(rng.integers(n)) for n in parameter.shape)
        step, slopes = 1e-5, []
        with torch.no_grad():
            for sign in (1, -1):
                parameter[where] += sign * step
                slopes.append(slow_loss(model, images, WEIGHTS))
                parameter[where] -= sign * step
        slope = (slopes[0] - slopes[1]) / (2 * step)
        assert float(parameter.grad[where]) == pytest.approx(slope, rel=2e-5, abs=1e-7 * value), name


def test_errors_are_sums_over_the_labels(model, alloys):
    images = alloys(4, seed=2, properties=MIXTURES["some"][:4])
    _, errors = loss(model.module, batch_of(images, model), WEIGHTS)
    energy = sum(((builders.predict(model, atoms).energies.sum() - atoms.calc.results["energy"]) / len(atoms)) ** 2
                 for atoms in images if "energy" in atoms.calc.results)
    force = sum(((builders.predict(model, atoms).forces - atoms.calc.results["forces"]) ** 2).sum()
                for atoms in images if "forces" in atoms.calc.results)
    assert float(errors.energy) == pytest.approx(energy)
    assert float(errors.force) == pytest.approx(force)
    atoms_with_forces = sum(len(atoms) for atoms in images if "forces" in atoms.calc.results)
    assert errors.counts.tolist() == [3, 3 * atoms_with_forces, 18]
    assert not errors.energy.requires_grad


@pytest.mark.parametrize("weights", [Prefactors(1, 0, 0), Prefactors(0, 1, 0), Prefactors(0, 0, 1)])
def test_a_prediction_that_is_not_finite_is_not_hidden(model, alloys, weights):
    with torch.no_grad():
        next(model.module.parameters()).fill_(math.nan)
    value, _ = loss(model.module, batch_of(alloys(2), model), weights)
    assert not math.isfinite(float(value.detach()))


def test_no_label_of_a_kind_costs_nothing(model, alloys):
    value, errors = loss(model.module, batch_of(alloys(2, properties=("energy",)), model), Prefactors(0, 1, 1))
    assert float(value.detach()) == 0.0
    assert errors.counts.tolist() == [2, 0, 0]


positive = st.floats(1e-8, 1e-1)


@given(positive, positive, st.integers(1, 10**6), st.sampled_from(["linear", "exponential"]))
def test_rates_fall_from_start_to_stop(one, other, steps, kind):
    config = LearningRateConfig(start=max(one, other), stop=min(one, other), decay=kind)
    assert decay(config, 0, steps) == 1.0
    assert decay(config, steps, steps) == pytest.approx(config.stop / config.start)
    middle = config.start * decay(config, steps, 2 * steps)
    expected = (config.start + config.stop) / 2 if kind == "linear" else math.sqrt(config.start * config.stop)
    assert middle == pytest.approx(expected)


def test_rates_rise_in_the_first_steps():
    config = LearningRateConfig(warmup=4)
    assert [warmth(config, step, 100) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert [warmth(config, step, 20) for step in range(3)] == [0.5, 1.0, 1.0]  # a tenth of all
    assert warmth(config, 0, 5) == warmth(LearningRateConfig(warmup=0), 0, 100) == 1.0


def test_prefactors_go_from_start_to_limit():
    config = LossConfig(0.02, 1.0, 1000.0, 2.0, 0.5, 4.0)
    assert prefactors(config, 1.0) == pytest.approx((0.02, 1000.0, 0.5))
    assert prefactors(config, 0.0) == pytest.approx((1.0, 2.0, 4.0))
    assert prefactors(config, 0.25) == pytest.approx((0.755, 251.5, 3.125))
