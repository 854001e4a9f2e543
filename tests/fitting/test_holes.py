"""Where polynomials leave the nets behind: dynamics that finds it, and what they are taught there."""

from types import SimpleNamespace

import builders
import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.calculator import CalculationFailed
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator

from ase_deeppot import DeepPotCalculator
from ase_deeppot.fitting import holes
from ase_deeppot.fitting.config import FittingConfig, TrainingConfig
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.polynomials import fit_polynomials
from ase_deeppot.fitting.sources import read_frames
from ase_deeppot.fitting.validation import validate
from ase_deeppot.potential.archive import save_model
from ase_deeppot.sampling import SamplingConfig, sample

SHORT = SamplingConfig(600.0, structures=12, time=20.0, interval=5.0)  # three runs of four structures


def dataset_of(images):
    return Dataset(read_frames(images)[0], ("Cu", "Au"), 4.0)


def nets_of(**options):
    return builders.random_model(("Cu", "Au"), neuron=(3, 6), axis_neuron=2, **options)


def calculator_of(model, folder):
    save_model(folder / "some.pth", model)
    return DeepPotCalculator(folder / "some.pth")


def labelled_by(calculator, images):
    """The same structures, with what a calculator says of them."""
    made = []
    for atoms in images:
        other = atoms.copy()
        found = {name: calculator.get_property(name, atoms) for name in ("energy", "forces", "stress")}
        other.calc = SinglePointCalculator(other, **found)
        made.append(other)
    return made


def outputs_times(model, factor):
    for net in model.module.fitting_net.nets:
        net[-1].weight.data.mul_(factor)
    return model


def test_differences_are_enlarged(alloys):
    """In energies, and in forces, which are their slopes."""
    atoms = alloys(2, seed=3)[1]
    one, other = (LennardJones(sigma=2.3, epsilon=epsilon, rc=4.0) for epsilon in (0.05, 0.06))
    atoms.calc = holes.Enlarged(one, other)
    energy = other.get_potential_energy(atoms) - one.get_potential_energy(atoms)
    assert abs(energy) < holes.FAR * len(atoms)
    assert atoms.get_potential_energy() == pytest.approx(one.get_potential_energy(atoms) + 3.0 * energy)
    forces, ends = atoms.get_forces(), []
    for shift in (1e-4, -1e-4):
        atoms.positions[1, 2] += shift
        ends.append(atoms.get_potential_energy())
        atoms.positions[1, 2] -= shift
    assert forces[1, 2] == pytest.approx((ends[1] - ends[0]) / 2e-4, abs=1e-6)


@pytest.mark.parametrize("epsilon", [10.0, np.nan])
def test_dynamics_ends_where_they_are_far_apart(alloys, epsilon):
    atoms = alloys(1)[0]
    atoms.calc = holes.Enlarged(EMT(), LennardJones(sigma=2.3, epsilon=epsilon, rc=4.0))
    with pytest.raises(CalculationFailed, match=r"expected energies that differ by less than 0.1 eV an atom"):
        atoms.get_potential_energy()


def oscillators(monkeypatch, kelvin, stiffness):
    """Pairs of atoms on a spring at a temperature, and models that are this spring."""
    rest, rng = np.array([2.5, 0.0, 0.0]), np.random.default_rng(0)
    images = []
    for _ in range(400):
        shift = rng.normal(scale=np.sqrt(units.kB * kelvin / abs(stiffness)), size=3)
        atoms = Atoms("CuAu", [np.zeros(3), rest + shift])
        atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((2, 3)))
        images.append(atoms)

    def evaluate(types, pairs):
        pull = stiffness * (pairs.vectors[0] - rest)
        return SimpleNamespace(forces=np.stack([pull, -pull])), None
    monkeypatch.setattr(holes, "running", lambda models: SimpleNamespace(evaluate=evaluate))
    monkeypatch.setattr(holes, "FRAMES_OF_TEMPERATURE", len(images))
    return dataset_of(images)


@pytest.mark.parametrize("kelvin", [150.0, 600.0])
def test_forces_tell_the_temperature(monkeypatch, kelvin):
    frames = oscillators(monkeypatch, kelvin, 5.0)
    assert holes.temperature(nets_of(), frames) == pytest.approx(kelvin, rel=0.1)


def test_forces_that_do_not_tell_it(monkeypatch):
    assert holes.temperature(nets_of(), oscillators(monkeypatch, 300.0, -5.0)) == 0.0


def test_a_model_beside_itself(alloys):
    saw = holes.look(nets_of(), nets_of(), dataset_of(alloys(8)), SHORT)
    assert (saw.ended, saw.runs) == (0, 3)


def test_a_model_that_leaves_the_nets_behind(alloys, tmp_path):
    """Of runs that end early structures have the nets' forces: as many as there may be, the worst ones."""
    images, nets = alloys(8), nets_of()
    hot = SamplingConfig(3000.0, structures=60, time=100.0, interval=5.0)
    saw = holes.look(nets, outputs_times(nets_of(), 1.2), dataset_of(images), hot)
    assert 0 < saw.ended <= saw.runs == 3
    assert len(saw.structures) == 2  # a quarter
    assert (saw.structures.weights == holes.WEIGHT).all()
    frames, calculator = saw.structures.frames, calculator_of(nets, tmp_path)
    for k in range(2):
        structure = frames.frame(k).structure
        atoms = Atoms(structure.numbers, structure.positions, cell=structure.cell, pbc=structure.pbc)
        np.testing.assert_allclose(frames.frame(k).forces, calculator.get_forces(atoms), rtol=0, atol=1e-9)
    assert np.isnan(frames.energies).all()
    assert np.isnan(frames.virials).all()


def test_nothing_is_found_where_runs_end_at_once(alloys):
    saw = holes.look(nets_of(), outputs_times(nets_of(), 1e3), dataset_of(alloys(8)), SHORT)
    assert saw == (None, 3, 3)


def test_polynomials_are_taught_where_they_fall(alloys, tmp_path, monkeypatch):
    """Far from few frames they come nearer to the nets, in structures of other dynamics."""
    for name, value in {"TIME": 100.0, "COLDEST": 1500.0, "FAR": 0.005}.items():
        monkeypatch.setattr(holes, name, value)
    calculator, lines = calculator_of(nets_of(), tmp_path), []
    images = dataset_of(labelled_by(calculator, alloys(3, seed=3)))
    found = list(sample(alloys(6, seed=4), calculator, SamplingConfig(1500.0, structures=24, time=40.0, seed=9)))
    hot = dataset_of([atoms for run in found for atoms in run.frames])
    losses = []
    for runs in (0, 6):
        config = FittingConfig(training=TrainingConfig(monomials=150, monomials_runs=runs))
        made = fit_polynomials(nets_of(), images, None, config, lines.append).model
        losses.append(validate(made, hot, config.loss).loss)
    first = next(line for line in lines if "look 1 of 4" in line)
    assert "0 of 6 runs" not in first
    assert losses[1] < 0.8 * losses[0]


def test_nets_that_know_less_teach_nothing(alloys, monkeypatch):
    """What they say is wrong by more than a few per cent of what is left on frames set aside."""
    images, others, lines, made = alloys(16, seed=3), dataset_of(alloys(4, seed=5)), [], []
    wrong = dataset_of(images)
    wrong.frames.forces[:] *= -3.0
    monkeypatch.setattr(holes, "look", lambda *arguments: holes.Look(wrong, 2, 2))
    for runs in (0, 2):
        config = FittingConfig(training=TrainingConfig(monomials=100, monomials_runs=runs))
        made.append(fit_polynomials(nets_of(), dataset_of(images), others, config, lines.append))
    assert made[1].found == made[0].found
    assert "times: it is left out" in "\n".join(lines)
    assert "look 2" not in "\n".join(lines)
    assert made[1].model.card.training["dynamics"]["ended"] == 2
