"""Output layers by least squares, against the loss and its derivatives by automatic differentiation."""

import builders
import numpy as np
import pytest
import torch
from trained import equal

from ase_deeppot.fitting import output_layers, trainer
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.loss import Prefactors, loss
from ase_deeppot.fitting.output_layers import fit_output_layers
from ase_deeppot.fitting.sources import read_frames
from ase_deeppot.potential.archive import read_card
from ase_deeppot.potential.config import HybridConfig, HybridPart, LocalFrameConfig, ModelConfig
from ase_deeppot.potential.deep_potential import DeepPotential

WEIGHTS = Prefactors(300.0, 2.0, 50.0)
PART = {"neuron": (3, 6), "axis_neuron": 2, "l_max": 1}
LOCAL = LocalFrameConfig(sel_a={"Cu": 8, "Au": 6}, sel_r={"Cu": 12, "Au": 8})
MIXED = (("energy", "forces", "stress"), ("energy",), ("forces",), ("energy", "stress"))


def hybrid():
    shape = HybridConfig(parts=(HybridPart(**PART, rcut=4.0), HybridPart(**PART, kind="radial", rcut=3.0)))
    torch.manual_seed(1)
    net = builders.random_model(fitting_neuron=(5, 5)).card.config.fitting_net
    return DeepPotential(ModelConfig(("Cu", "Au"), 4.0, "float64", shape, net))


MODELS = {
    "smooth": lambda: builders.random_model(("Cu", "Au"), neuron=(3, 6), axis_neuron=2, fitting_neuron=(5, 5)).module,
    "float32": lambda: builders.random_model(("Cu", "Au"), neuron=(3, 6), axis_neuron=2, fitting_neuron=(5, 5),
                                             precision="float32").module,
    "hybrid": hybrid,
    "local frames": lambda: DeepPotential(ModelConfig(("Cu", "Au"), 4.0, "float64", LOCAL)),
}


def dataset_of(images):
    dataset = Dataset(read_frames(images)[0], ("Cu", "Au"), 4.0)
    rng = np.random.default_rng(0)
    dataset.weights, dataset.species_weights = rng.uniform(0.5, 2.0, len(images)), np.array([1.0, 3.0])
    return dataset


def total_loss(model, dataset):
    """Of all frames together."""
    batch = dataset.batch(np.arange(len(dataset)), model.descriptor.geometry())
    return loss(model, batch, WEIGHTS)[0]


def output_gradients(model, value):
    outputs = [model.fitting_net.parts(t)[1] for t in range(2)]
    return torch.cat([grad.flatten() for grad in torch.autograd.grad(
        value, [weight for output in outputs for weight in (output.weight, output.bias)])])


def take_the_least(monkeypatch):
    """Of all frames, with next to no ridge, whatever one half of them says of the other."""
    monkeypatch.setattr(output_layers, "RIDGES", (1e-13,))
    monkeypatch.setattr(output_layers, "_for_the_other", lambda halves, ridge: -1.0)


@pytest.mark.parametrize("kind", MODELS)
def test_the_loss_has_its_minimum_there(kind, alloys, monkeypatch):
    """Its derivative by the output layers vanishes, those by other weights do not, and it falls by what is told."""
    take_the_least(monkeypatch)
    model, dataset = MODELS[kind](), dataset_of(alloys(20, seed=3))
    before = total_loss(model, dataset)
    steep = output_gradients(model, before).norm()
    others = {name: value.clone() for name, value in model.state_dict().items()}
    gained = fit_output_layers(model, dataset, WEIGHTS)
    after = total_loss(model, dataset)
    tolerance = 1e-4 if kind == "float32" else 1e-7
    assert float(output_gradients(model, after).norm()) < tolerance * float(steep)
    assert gained == pytest.approx(float((before - after).detach()), rel=tolerance)
    assert gained > 0.1 * float(before.detach())
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, others[name])}
    assert changed == {f"fitting_net.nets.{t}.1.{part}" for t in range(2) for part in ("weight", "bias")}


@pytest.mark.parametrize("properties", [MIXED, ("energy",), ("forces",)], ids=["mixed", "energies", "forces"])
def test_labels_that_are_missing(properties, alloys, monkeypatch):
    take_the_least(monkeypatch)
    model, dataset = MODELS["smooth"](), dataset_of(alloys(24, seed=4, properties=properties))
    before = total_loss(model, dataset)
    fit_output_layers(model, dataset, WEIGHTS)
    after = total_loss(model, dataset)
    assert float(output_gradients(model, after).norm()) < 1e-3 * float(output_gradients(model, before).norm())


def test_a_model_that_is_right_stays_as_it_is(alloys):
    """Labels of the model itself: nothing can be gained."""
    model = builders.random_model(("Cu", "Au"), neuron=(3, 6), axis_neuron=2, fitting_neuron=(5, 5))
    images = alloys(12, seed=5)
    for atoms in images:
        predicted = builders.predict(model, atoms)
        stress = -predicted.virials.sum(0) / atoms.get_volume()
        atoms.calc.results.update(energy=float(predicted.energies.sum()), forces=predicted.forces,
                                  stress=stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]])
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    assert fit_output_layers(model.module, dataset_of(images), WEIGHTS) < 1e-12
    for name, value in model.module.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=1e-6)


def test_what_one_half_says_of_the_other_limits_the_change(alloys):
    """Noise in place of labels: what fits it best does harm to others, so little or nothing is changed."""
    images, rng = alloys(6, seed=6, properties=("forces",)), np.random.default_rng(0)
    model = builders.random_model(("Cu", "Au"), neuron=(3, 6), axis_neuron=2, fitting_neuron=(40, 40))
    for atoms in images:
        atoms.calc.results["forces"] = builders.predict(model, atoms).forces + rng.normal(size=(len(atoms), 3))
    dataset = dataset_of(images)
    before = float(total_loss(model.module, dataset).detach())
    assert fit_output_layers(model.module, dataset, WEIGHTS) < 0.15 * before  # 66 unknowns, 108 equations


def test_one_frame_alone_changes_nothing(alloys):
    model, dataset = MODELS["smooth"](), dataset_of(alloys(1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert fit_output_layers(model, dataset, WEIGHTS) == 0.0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_forces_of_some_frames_only(alloys, monkeypatch):
    """As many as give enough equations, spread evenly; energies of all."""
    seen = []
    real = output_layers._force_and_virial_rows

    def counted(model, directions, batch):
        seen.append(len(batch.sizes))
        return real(model, directions, batch)
    monkeypatch.setattr(output_layers, "_force_and_virial_rows", counted)
    monkeypatch.setattr(output_layers, "ATOMS_PER_UNKNOWN", 3)
    fit_output_layers(MODELS["smooth"](), dataset_of(alloys(40)), WEIGHTS, output_layers.Sample(40, 0))
    assert sum(seen) == 6  # 12 weights, 36 of 240 atoms


def test_at_the_end_of_a_run(train, alloys, tmp_path, monkeypatch):
    """The model that is written is better than the last step's, and its card says why; without, it is that one."""
    monkeypatch.setattr(trainer, "LEAST_SQUARES_AT", ())
    images, held_out = alloys(24), alloys(6, seed=1)
    fitted = train(images, held_out, training={"steps": 60})
    plain = train(images, held_out, output="plain", training={"steps": 60, "fit_output_layers": False})
    assert fitted.validation[0].rmse < 0.8 * plain.validation[0].rmse
    assert read_card(fitted.model).training["output_layers"] == "fitted"
    assert "output_layers" not in read_card(plain.model).training
    assert "output layers fitted to the training frames: validation loss " in (tmp_path / "out/train.log").read_text()
    again = train(images, held_out, training={"steps": 60}, restart=True)  # nothing left to do but to write it
    assert equal(again.model, fitted.model)


def test_at_the_end_of_a_run_without_validation_frames(train, alloys, monkeypatch):
    monkeypatch.setattr(trainer, "LEAST_SQUARES_AT", ())
    result = train(alloys(24), [], data={"validation_fraction": 0.0}, training={"steps": 60})
    assert read_card(result.model).training["output_layers"] == "fitted"


def test_while_training_goes_on(train, alloys, monkeypatch):
    """At some steps, with the prefactors that the loss has then; what follows starts from there."""
    seen = []

    def fitted(model, dataset, weights, sample):
        gained = fit_output_layers(model, dataset, weights, sample)
        seen.append((weights.force, gained))
        return gained
    monkeypatch.setattr(trainer, "fit_output_layers", fitted)
    options = {"steps": 40, "validate_every": 40}
    rates = {"start": 5e-3, "stop": 5e-5, "decay": "linear"}
    loss = {"start_pref_f": 1000.0, "limit_pref_f": 0.0}
    train(alloys(24), alloys(6, seed=1), training=options, learning_rate=rates, loss=loss)
    expected = [1000.0 * (1 - 0.99 * step / 40) for step in (10, 20, 30, 36, 38)]
    assert [force for force, _ in seen] == pytest.approx(expected, rel=0.02)
    assert max(gained for _, gained in seen) > 0.0
    count = len(seen)
    train(alloys(24), output="plain", training=options | {"fit_output_layers": False})
    assert len(seen) == count
