"""Polynomials brought to other frames by least squares, from what they were."""

import numpy as np
import pytest
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from trained import weights

from ase_deeppot import DeepPotCalculator
from ase_deeppot.errors import ConfigError
from ase_deeppot.fitting import fit, preview, refit
from ase_deeppot.fitting.polynomials import Solved, refit_polynomials
from ase_deeppot.fitting.trainer import TrainingError
from ase_deeppot.potential.archive import read_card

MONOMIALS = 300


@pytest.fixture(scope="module")
def first(tiny, alloys, tmp_path_factory):
    """A model with polynomials, of some frames."""
    options = tiny(training={"steps": 12, "monomials": MONOMIALS, "monomials_runs": 0})
    return fit(alloys(16), alloys(3, seed=1), output=str(tmp_path_factory.mktemp("first") / "run"), quiet=True,
               **options).model


@pytest.fixture
def going_on(tiny, tmp_path, first):
    """Function: ``fit`` from that model into ``tmp_path/on``."""
    options = tiny() | {"model": {}, "output": str(tmp_path / "on"), "quiet": True, "init_model": str(first)}
    return lambda frames, validation=None, **changes: fit(frames, validation, **(options | changes))


def of_another_level(images):
    """As another functional would see them: stiffer, energies shifted by species."""
    made = []
    for atoms in images:
        found, shift = atoms.calc.results, 3.0 * len(atoms) - 1.0 * atoms.symbols.count("Au")
        other = atoms.copy()
        other.calc = SinglePointCalculator(other, energy=1.4 * found["energy"] + shift, forces=1.4 * found["forces"])
        made.append(other)
    return made


def with_silver(images):
    """An atom of the first is of another species."""
    other = images[0].copy()
    other.symbols[0] = "Ag"
    other.calc = SinglePointCalculator(other, **images[0].calc.results)
    return [other, *images[1:]]


def force_errors(model, images):
    calculator = DeepPotCalculator(model)
    return np.concatenate([calculator.get_forces(atoms) - atoms.get_forces() for atoms in images])


@pytest.mark.parametrize("frames", [8, 30])  # fewer equations than unknowns, and more
def test_forces_of_another_level_from_few_frames(going_on, alloys, first, tmp_path, frames):
    new, held_out = of_another_level(alloys(frames, seed=5)), of_another_level(alloys(6, seed=6))
    before = np.abs(force_errors(first, held_out)).mean()
    result = going_on(new, of_another_level(alloys(3, seed=7)))
    assert result.finished
    assert np.abs(force_errors(result.model, held_out)).mean() < 0.5 * before
    card, old = read_card(result.model), read_card(first)
    assert card.config.fitting_net == old.config.fitting_net
    assert card.training["steps"] == 0
    assert card.training["init_model"]["name"] == "model.pth"
    assert card.training["validation_rmse"]["forces"] == result.validation[1].rmse
    for pair, distance in old.domain.smallest_distance.items():  # of either
        assert card.domain.smallest_distance[pair] <= distance
    old, new = weights(first), weights(result.model)
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    changed.discard("descriptor.s_max")  # where frames have shorter distances
    assert changed == {"fitting_net.energy_bias", "fitting_net.nets.0.1.weight", "fitting_net.nets.1.1.weight"}


def test_frames_that_the_model_agrees_with_change_nothing_that_matters(going_on, alloys, first):
    """Least squares start from what is there, whatever the ridge."""
    images = alloys(4, seed=5)
    own = DeepPotCalculator(first)
    for atoms in images:
        atoms.calc = SinglePointCalculator(atoms, energy=own.get_potential_energy(atoms), forces=own.get_forces(atoms))
    result = going_on(images, images[:1], monitor={"plot": True, "report": True})
    assert np.abs(force_errors(result.model, alloys(4, seed=6)) - force_errors(first, alloys(4, seed=6))).max() < 1e-4
    page = result.model.with_name("report.html").read_text()
    assert "of training" in page
    assert "steps, of" not in page


def test_weights_that_are_better_stay_but_energies_have_the_new_level(going_on, alloys, first, tmp_path, monkeypatch):
    def worse(*arguments):
        made, found = refit_polynomials(*arguments)
        return Solved(made, found._replace(loss=1e9))
    monkeypatch.setattr(refit, "refit_polynomials", worse)
    result = going_on(of_another_level(alloys(4, seed=5)), of_another_level(alloys(2, seed=7)))
    old, new = weights(first), weights(result.model)
    assert {name for name in old if not torch.equal(old[name], new[name])} == {"fitting_net.energy_bias"}
    assert ": the weights stay as they were" in (tmp_path / "on" / "train.log").read_text()


def test_without_frames_set_aside(going_on, alloys, first):
    result = going_on(of_another_level(alloys(20, seed=5)), data={"validation_fraction": 0.0})
    held_out = of_another_level(alloys(6, seed=6))
    assert result.validation == ()
    assert np.abs(force_errors(result.model, held_out)).mean() < 0.8 * np.abs(force_errors(first, held_out)).mean()


def test_a_second_time(going_on, alloys, tmp_path):
    """From what the first one made; the card tells what the frames were."""
    once = going_on(alloys(4, seed=5), alloys(2, seed=7)).model
    again = going_on(alloys(4, seed=8), alloys(2, seed=7), init_model=str(once), output=str(tmp_path / "again")).model
    assert read_card(again).training["init_model"]["init_model"]["name"] == "model.pth"


def test_what_is_said_before(tiny, alloys, first, capsys):
    preview(alloys(4, seed=5), **(tiny() | {"model": {}, "init_model": str(first)}))
    said = capsys.readouterr().out
    assert "steps           none: the weights of polynomials come from least squares" in said
    terms = ", ".join(str(terms) for _, terms in read_card(first).config.fitting_net.polynomial)
    assert f"fitting cubic polynomials, {terms} terms of" in said
    assert "training.monomials =" not in said


def test_new_species_are_refused(going_on, alloys):
    with pytest.raises(ConfigError, match=r"expected no new species with polynomials, .* got Ag: start from nets\.pth"):
        going_on(with_silver(alloys(3)), alloys(2))


def test_nets_of_the_same_training_learn_new_species(going_on, alloys, first, tmp_path):
    assert going_on(with_silver(alloys(6)), alloys(2), init_model=str(first.with_name("nets.pth"))).finished


def test_polynomials_in_an_input_are_refused(train, alloys):
    shape = {"type_map": ["Cu", "Au"], "rcut": 4.0, "fitting_net": {"neuron": [4], "polynomial": [[2, 2], [2, 2]]}}
    with pytest.raises(ConfigError, match=r"expected fitting nets in .model., got polynomials: .* training.monomials"):
        train(alloys(4), model=shape)


def test_a_model_that_cannot_be_written(going_on, alloys, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(refit, "save_model", full)
    with pytest.raises(TrainingError, match=r"could not write .*model.pth \(No space left on device\): make room"):
        going_on(alloys(4, seed=5))
