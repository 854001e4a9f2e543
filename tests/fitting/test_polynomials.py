"""Polynomials in place of fitting nets: their equations against the models that they make, and training with them."""

from dataclasses import replace

import builders
import numpy as np
import pytest
import torch
from trained import equal, interrupt_at

from ase_deeppot import DeepPotCalculator, cli
from ase_deeppot.errors import ConfigError
from ase_deeppot.fitting import finish, holes, polynomials, ridge
from ase_deeppot.fitting.config import FittingConfig, TrainingConfig
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.equations import energy_rows, force_and_virial_rows
from ase_deeppot.fitting.least_squares import Quadratic
from ase_deeppot.fitting.monomials import first_metric, monomials
from ase_deeppot.fitting.polynomial_models import with_polynomials
from ase_deeppot.fitting.polynomials import Solved, fit_polynomials
from ase_deeppot.fitting.sources import read_frames
from ase_deeppot.fitting.trainer import Trainer
from ase_deeppot.potential.archive import read_card

SHAPE = {"neuron": (3, 6), "axis_neuron": 2, "bispectrum_neuron": 2}
MONOMIALS = FittingConfig(training=TrainingConfig(monomials=25, monomials_runs=0))


def model_of(**options):
    return builders.random_model(("Cu", "Au"), **(SHAPE | options))


def dataset_of(images):
    return Dataset(read_frames(images)[0], ("Cu", "Au"), 4.0)


def say(line):
    """Nobody listens."""


def errors(model, images):
    """Errors of energy, forces and virial of each frame, in the end as a calculator finds them."""
    for atoms in images:
        found, labels = builders.predict(model, atoms), atoms.calc.results
        virial = -labels["stress"][[0, 5, 4, 5, 1, 3, 4, 3, 2]] * atoms.get_volume()
        yield (found.energies.sum() - labels["energy"], found.forces - labels["forces"],
               found.virials.sum(0).ravel() - virial)


def loss(model, images):
    """``(dE^2 + sum dF^2 + <dW^2>) / N``, the mean over frames."""
    return np.mean([(e**2 + (f**2).sum() + (w**2).mean()) / len(f) for e, f, w in errors(model, images)])


@pytest.mark.parametrize("options", [{}, {"l_max": 1, "bispectrum_neuron": 0, "type_one_side": False}])
@torch.no_grad()
def test_equations_are_what_the_models_do(options, alloys):
    """Rows times weights against a model file's own way: fused loops, or torch."""
    model, images = model_of(**options), alloys(4, seed=2)
    potential, dataset = model.module, dataset_of(images)
    generator = torch.Generator().manual_seed(0)
    x = polynomials._inputs(potential, dataset)
    layers = [monomials(first_metric(part), part, count) for part, count in zip(x, (90, 60), strict=True)]
    weights = [10 * torch.randn(len(layer.scale), generator=generator, dtype=torch.float64) for layer in layers]
    biases = torch.tensor([0.3, -0.7], dtype=torch.float64)
    whole = torch.cat([part for w, b in zip(weights, biases, strict=True) for part in (w, b[None])])
    made = with_polynomials(model, layers, whole)
    batch = dataset.batch(np.arange(4), potential.descriptor.geometry())
    bias = potential.fitting_net.energy_bias[batch.structures.types]
    energies = (energy_rows(potential, layers, batch) @ whole) * batch.sizes
    force, virial = (rows @ whole for rows in force_and_virial_rows(potential, layers, batch))
    expected = [builders.predict(made, atoms) for atoms in images]
    for k, found in enumerate(expected):
        assert energies[k] + bias[batch.frame == k].sum() == pytest.approx(found.energies.sum(), abs=1e-9)
        np.testing.assert_allclose(virial.view(-1, 3, 3)[k], found.virials.sum(0), rtol=0, atol=1e-7)
    forces = np.concatenate([found.forces for found in expected])
    np.testing.assert_allclose(force.view(-1, 3), forces, rtol=0, atol=1e-8)
    assert force.abs().max() > 1e-2


def test_weights_are_those_of_the_least_loss(alloys, monkeypatch):
    """As finite differences along random changes of the output layers see it."""
    monkeypatch.setattr(ridge, "_best", lambda at, first: (first, *at(1e-13)))
    monkeypatch.setattr(polynomials, "ROUNDS", 1)
    model, images = model_of(), alloys(12, seed=3)
    made, _ = fit_polynomials(model, dataset_of(images), dataset_of(alloys(3, seed=4)), MONOMIALS, say)
    least, rng = loss(made, images), np.random.default_rng(0)
    assert least < 0.3 * loss(model, images)
    for _ in range(3):
        change = [torch.from_numpy(rng.normal(size=part.weight.shape)) * (part.weight != 0)
                  for part in outputs_of(made)]
        ends = []
        for step in (1e-3, -2e-3):
            moved = [part.weight.data.add_(step * d) for part, d in zip(outputs_of(made), change, strict=True)]
            assert len(moved) == 2
            ends.append(loss(made, images))
        for part, d in zip(outputs_of(made), change, strict=True):
            part.weight.data.add_(1e-3 * d)
        assert min(ends) > least
        assert abs(ends[0] - ends[1]) < 0.02 * (max(ends) - least)


def outputs_of(model):
    return [model.module.fitting_net.parts(t)[1] for t in range(2)]


def test_labels_that_do_not_count_in_training_do_not_here(alloys):
    """Stresses that are wrong, with prefactors of zero."""
    images, model = alloys(10, seed=5), model_of()
    without = replace(MONOMIALS, loss=replace(MONOMIALS.loss, start_pref_v=0.0, limit_pref_v=0.0))
    made = fit_polynomials(model, dataset_of(images), None, without, say).model
    for atoms in images:
        atoms.calc.results["stress"] = atoms.calc.results["stress"] + 1.0
    again = fit_polynomials(model, dataset_of(images), None, without, say).model
    builders.assert_same_weights(again.module, made.module)
    other = fit_polynomials(model, dataset_of(images), None, MONOMIALS, say).model
    assert not torch.equal(outputs_of(other)[0].weight, outputs_of(made)[0].weight)


def test_energies_that_count_for_more_have_smaller_errors(alloys, monkeypatch):
    monkeypatch.setattr(ridge, "_best", lambda at, first: (first, *at(1e-6)))
    model, images, found = model_of(), alloys(30, seed=3), []
    for weight in (1.0, 1000.0):
        training = replace(MONOMIALS.training, monomials_energy=weight)
        made = fit_polynomials(model, dataset_of(images), None, replace(MONOMIALS, training=training), say).model
        found.append([np.mean([np.square(error[k]).sum() for error in errors(made, images)]) for k in (0, 1)])
    (energies, forces), (heavier, others) = found
    assert heavier < 0.5 * energies
    assert others > forces


def test_frames_without_some_labels(alloys):
    images = alloys(12, seed=6, properties=(("energy", "forces"), ("energy",), ("forces",)))
    found = fit_polynomials(model_of(), dataset_of(images), dataset_of(alloys(3, seed=7)), MONOMIALS, say).found
    before = fit_polynomials(model_of(), dataset_of(images[:3]), dataset_of(alloys(3, seed=7)), MONOMIALS, say).found
    assert found.loss < before.loss


def test_an_element_that_no_frame_has(alloys):
    model = builders.random_model(("Ag", "Cu", "Au"), **SHAPE)
    frames = Dataset(read_frames(alloys(8, seed=3))[0], ("Ag", "Cu", "Au"), 4.0)
    made, _ = fit_polynomials(model, frames, None, MONOMIALS, say)
    assert all(value.isfinite().all() for value in made.module.state_dict().values())
    assert loss(made, alloys(8, seed=3)) < 0.3 * loss(model, alloys(8, seed=3))


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_few_frames_and_memory_that_is_told(alloys, frames):
    lines = []
    fit_polynomials(model_of(), dataset_of(alloys(frames)), None, MONOMIALS, lines.append)
    assert lines[0] == "monomials: 52 unknowns, 0.0 GB of memory"


def test_equations_that_rounding_leaves_unsolvable(alloys, monkeypatch):
    def unsolvable(loss, asked):
        raise torch.linalg.LinAlgError("no")
    monkeypatch.setattr(Quadratic, "least", unsolvable)
    made, _ = fit_polynomials(model_of(), dataset_of(alloys(8, seed=3)), None, MONOMIALS, say)
    assert all(value.isfinite().all() for value in made.module.state_dict().values())


# More than thrice what few frames have equations
MANY = FittingConfig(training=TrainingConfig(monomials=400, monomials_runs=0))


def test_fewer_equations_than_unknowns_are_solved_by_a_matrix_of_their_own(alloys, monkeypatch):
    """The same solution, as errors of the model show; and the memory that is told is less."""
    monkeypatch.setattr(ridge, "RIDGES", range(-6, 1))
    monkeypatch.setattr(polynomials, "ROUNDS", 1)
    train, held_out, lines = dataset_of(alloys(4, seed=3)), dataset_of(alloys(3, seed=4)), []
    few = fit_polynomials(model_of(), train, held_out, MANY, lines.append)
    monkeypatch.setattr(ridge, "_few", lambda *arguments: False)
    found = []
    for exponent in range(-6, 1):
        monkeypatch.setattr(ridge, "_best", lambda at, first, exponent=exponent: (exponent, *at(10.0**exponent)))
        found.append(fit_polynomials(model_of(), train, held_out, MANY, lines.append))
    losses = [solved.found.loss for solved in found]
    assert sum(few.found.loss == pytest.approx(one, rel=1e-6) for one in losses) == 1
    assert few.found.loss < 1.2 * min(losses)  # the ridge is chosen with energies and forces weighted as they are here
    assert ridge.memory(802, train, held_out) > 1e-2
    monkeypatch.undo()
    assert ridge.memory(802, train, held_out) < 1e-2


@pytest.mark.parametrize("best", [-13.0, -11.0, -10.0, -9.0, -4.0])
@pytest.mark.parametrize("solvable", [-20.0, -10.5, -8.5])
def test_the_ridge_that_does_best(best, solvable):
    """From the first on, as far as errors get smaller; below some rounding leaves nothing."""
    def at(ridge):
        exponent = round(np.log10(ridge))
        return abs(exponent - best) if exponent > solvable else np.inf, torch.tensor(exponent)
    power, loss, change = ridge._best(at, -10)
    assert power == change == max(best, np.ceil(solvable))
    assert loss == power - best


def test_the_way_to_the_ridge_begins_on_the_better_side():
    """Errors of a small model fitted anew: no ridge at all is somewhat better than a little of it."""
    errors = {-12: 13.3, -11: 13.5, -10: 13.6, -9: 10.5, -8: 7.1, -7: 4.3, -6: 2.1, -5: 1.7, -4: 1.8}
    assert ridge._best(lambda size: (errors[round(np.log10(size))], size), -10) == (-5, 1.7, pytest.approx(1e-5))


def test_single_precision_is_as_good(alloys, monkeypatch):
    monkeypatch.setattr(ridge, "_best", lambda at, first: (first, *at(1e-8)))
    monkeypatch.setattr(polynomials, "ROUNDS", 1)
    double, single = model_of(), model_of(precision="float32")
    single.module.load_state_dict(double.module.state_dict())
    train, held_out = dataset_of(alloys(12, seed=3)), dataset_of(alloys(4, seed=4))
    one, other = (fit_polynomials(model, train, held_out, MONOMIALS, say) for model in (double, single))
    assert other.model.card.config.precision == "float32"
    assert other.found.loss == pytest.approx(one.found.loss, rel=1e-3)


OPTIONS = {"training": {"steps": 12, "validate_every": 4, "monomials": 20, "monomials_runs": 0}}


def test_training_ends_with_polynomials(train, alloys, tmp_path):
    """They are better than the nets of so few steps, which stay beside them."""
    result = train(alloys(12), alloys(3, seed=1), **OPTIONS)
    card, nets = read_card(result.model), read_card(tmp_path / "out" / "nets.pth")
    assert len(card.config.fitting_net.polynomial) == 2
    assert nets.config.fitting_net.polynomial == ()
    assert card.training["validation_rmse"]["forces"] == result.validation[1].rmse
    assert card.training["validation_rmse"]["forces"] < nets.training["validation_rmse"]["forces"]
    log = (tmp_path / "out" / "train.log").read_text()
    assert "monomials, round 2 of 2: validation loss" in log
    assert "nets.pth, the model with nets" in log
    atoms = alloys(1, seed=9)[0]
    atoms.calc = DeepPotCalculator(result.model)
    assert atoms.get_forces().shape == (len(atoms), 3)


def test_dynamics_is_looked_at_and_told(train, alloys, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(holes, "TIME", 50.0)
    training = OPTIONS["training"] | {"monomials_runs": 2}
    result = train(alloys(12), alloys(3, seed=1), **(OPTIONS | {"training": training}))
    told = read_card(result.model).training["dynamics"]
    assert told["runs"] == 2
    assert told["temperature"] >= holes.COLDEST
    log = (tmp_path / "out" / "train.log").read_text()
    looks = [line for line in log.splitlines() if line.startswith("dynamics at ")]
    assert looks[-1].endswith(f"{told['ended']} of 2 runs left the nets behind")
    assert "monomials, after dynamics: validation loss" in log
    assert cli.main(["info", str(result.model)]) == 0
    assert f"dynamics        {told['ended']} of 2 runs at {told['temperature']} K left" in capsys.readouterr().out


def test_nets_that_are_better_stay(train, alloys, tmp_path, monkeypatch):
    def worse(*arguments):
        made, found = fit_polynomials(*arguments)
        return Solved(made, found._replace(loss=1e9))
    monkeypatch.setattr(finish, "fit_polynomials", worse)
    result = train(alloys(12), alloys(3, seed=1), **OPTIONS)
    assert read_card(result.model).config.fitting_net.polynomial == ()
    assert not (tmp_path / "out" / "nets.pth").exists()
    assert "polynomials are no better than nets" in (tmp_path / "out" / "train.log").read_text()


def test_without_frames_set_aside(train, alloys, tmp_path):
    result = train(alloys(12), data={"validation_fraction": 0.0}, **OPTIONS)
    assert read_card(result.model).config.fitting_net.polynomial
    assert (tmp_path / "out" / "nets.pth").exists()


def test_an_interrupt_changes_nothing(train, alloys, monkeypatch):
    whole = train(alloys(8), alloys(3, seed=1), output="whole", **OPTIONS).model
    resume = interrupt_at(monkeypatch, 6)
    assert not train(alloys(8), alloys(3, seed=1), **OPTIONS).finished
    resume()
    assert equal(train(alloys(8), alloys(3, seed=1), restart=True, **OPTIONS).model, whole)


def test_an_interrupt_among_monomials_costs_no_steps(train, alloys, tmp_path, monkeypatch):
    whole = train(alloys(8), alloys(3, seed=1), output="whole", **OPTIONS).model

    def interrupted(*arguments):
        raise KeyboardInterrupt
    with monkeypatch.context() as patched:
        patched.setattr(finish, "fit_polynomials", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(alloys(8), alloys(3, seed=1), **OPTIONS)
    assert read_card(tmp_path / "out" / "nets.pth").config.fitting_net.polynomial == ()
    monkeypatch.setattr(Trainer, "step", interrupted)  # none is left to do
    assert equal(train(alloys(8), alloys(3, seed=1), restart=True, **OPTIONS).model, whole)


@pytest.mark.parametrize(("descriptor", "named"), [
    ({"kind": "radial"}, "radial"), ({"kind": "local_frame", "sel_a": {"Cu": 4, "Au": 4}}, "local_frame"),
    ({"kind": "hybrid", "parts": [{"rcut": 4.0}, {"kind": "radial", "rcut": 3.0}]}, "hybrid")])
def test_other_descriptors_are_refused(train, alloys, descriptor, named):
    with pytest.raises(ConfigError, match=f"expected the descriptor smooth and no parameters with training.monomials, "
                                          f"got the descriptor {named}"):
        train(alloys(4), model={"rcut": 4.0, "descriptor": descriptor, "fitting_net": {"neuron": [6]}}, **OPTIONS)
