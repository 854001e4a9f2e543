"""Training of models that tell atoms apart by their bonds."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from builders import random_model
from runs import deeppot
from trained import equal, interrupt_at

from ase_deeppot import DeepPotCalculator
from ase_deeppot.bonds import species_names
from ase_deeppot.errors import ConfigError, StructureError
from ase_deeppot.fitting import fit
from ase_deeppot.fitting.bias import change_bias, energy_bias
from ase_deeppot.fitting.checkpoint import load_checkpoint
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.metrics import predict
from ase_deeppot.fitting.sources import read_frames
from ase_deeppot.fitting.summary import summarise
from ase_deeppot.fitting.weights import species_weights
from ase_deeppot.interop import load_model
from ase_deeppot.species import element_of
from ase_deeppot.structures import from_atoms

CARBON, OXYGEN, HYDROGEN = 0, 1, 3  # of ASE's methanol; the last is oxygen's


def stretched(count, seed=0):
    """Methanol and silanol, in turn, whose O-H bonds are springs, that of silanol of twice the strength."""
    rng, frames = np.random.default_rng(seed), []
    for k in range(count):
        atoms, spring, change = molecule("CH3OH"), (20.0, 40.0)[k % 2], rng.uniform(-0.1, 0.1)
        if k % 2:
            atoms.numbers[CARBON] = 14
            atoms.positions[CARBON] += 0.3 * (atoms.positions[CARBON] - atoms.positions[OXYGEN])
        atoms.rotate(rng.uniform(0, 360), rng.normal(size=3))
        bond = atoms.positions[HYDROGEN] - atoms.positions[OXYGEN]
        along, forces = bond / np.linalg.norm(bond), np.zeros((len(atoms), 3))
        atoms.positions[HYDROGEN] += change * along
        forces[HYDROGEN], forces[OXYGEN] = -spring * change * along, spring * change * along
        atoms.calc = SinglePointCalculator(atoms, energy=0.5 * spring * change**2, forces=forces)
        frames.append(atoms)
    return frames


def trained(folder, bonds, sources=None, **options):
    """A model that sees no farther than from oxygen to its hydrogen."""
    model = {"rcut": 1.35, "bonds": bonds, "fitting_net": {"neuron": [8]},
             "descriptor": {"neuron": [3, 6], "axis_neuron": 2, "l_max": 1, "rcut_smth": 1.15}}
    return fit(sources or stretched(40), stretched(10, seed=1), output=str(folder), quiet=True, **(
        {"model": model, "training": {"steps": 300}, "monitor": {"plot": False, "report": False}} | options)).model


@pytest.fixture(scope="module")
def bonded(tmp_path_factory):
    """File of a model of methanol and silanol."""
    return trained(tmp_path_factory.mktemp("bonded") / "run", 1)


def test_what_elements_cannot_tell_bonds_can(tmp_path, bonded):
    by_element, by_bonds = load_model(trained(tmp_path / "0", 0)).card, load_model(bonded).card
    assert by_bonds.type_map == ("H(C)", "H(O)", "H(Si)", "C(HHHO)", "O(CH)", "O(HSi)", "Si(HHHO)")
    assert by_element.training["validation_rmse"]["forces"] > 0.1
    assert by_bonds.training["validation_rmse"]["forces"] < 1e-3
    atoms = stretched(2, seed=7)[1]
    expected = atoms.get_forces()
    atoms.calc = DeepPotCalculator(bonded)
    np.testing.assert_allclose(atoms.get_forces(), expected, atol=5e-3)


@pytest.mark.parametrize("bonds", [0, 1, 2])
def test_types_and_counts_are_those_of_the_names(bonds):
    images = stretched(6)
    frames = read_frames(images)[0]
    summary = summarise(frames, bonds)
    dataset = Dataset(frames, summary.species[::-1], 3.0, summary=summary if bonds == 1 else None)
    for k, atoms in enumerate(images):
        names = species_names(from_atoms(atoms), bonds)
        assert [summary.species[::-1][t] for t in dataset.types_of_frame(k)] == names
        assert dataset.counts[k].tolist() == [names.count(name) for name in summary.species[::-1]]


def test_a_frame_with_other_bonds_is_named():
    images = stretched(4)
    species = summarise(read_frames(images)[0], 1).species
    labels = images[2].calc.results
    images[2].positions[HYDROGEN] += 3.0
    images[2].calc = SinglePointCalculator(images[2], **labels)
    with pytest.raises(StructureError, match=r"frame 2: expected species of the model \(.*\), got H\(\), O\(C\)"):
        Dataset(read_frames(images)[0], species, 3.0)


def test_weights_of_elements_hold_for_their_species():
    assert species_weights(("H(C)", "H(O)", "C(HHHO)"), {"H": 2.0, "H(O)": 5.0}).tolist() == [2.0, 5.0, 1.0]
    with pytest.raises(ConfigError, match=r"expected elements or species of the model .*, got H\(N\)"):
        species_weights(("H(C)", "C(HHHO)"), {"H(N)": 2.0})


def test_going_on_from_such_a_model(tmp_path, bonded, monkeypatch):
    """It says itself how far bonds count; new molecules have new species."""
    water = molecule("H2O")
    water.calc = SinglePointCalculator(water, energy=0.1, forces=np.zeros((3, 3)))
    options = {"model": {}, "training": {"steps": 4}, "init_model": str(bonded)}
    release = interrupt_at(monkeypatch, 2)
    trained(tmp_path / "more", 1, [*stretched(4), water], **options)
    release()
    path = trained(tmp_path / "more", 1, [*stretched(4), water], restart=True, **options)
    first, card = load_model(bonded).card, load_model(path).card
    assert card.config.bonds == 1
    assert card.type_map == (*first.type_map, "O(HH)")
    with pytest.raises(ConfigError, match=r"expected model\.bonds = 1, as init_model has it, got 2"):
        trained(tmp_path / "other", 1, model={"bonds": 2}, init_model=str(bonded))


def test_energies_of_single_atoms_hold_for_all_species_of_an_element(tmp_path):
    alone = [Atoms(symbol) for symbol in ("H", "C", "O", "Si")]
    for number, atoms in enumerate(alone, start=1):
        atoms.calc = SinglePointCalculator(atoms, energy=-float(number), forces=np.zeros((1, 3)))
    frames = read_frames([*stretched(4), *alone])[0]
    dataset = Dataset(frames, summarise(frames, 1).species, 1.35)
    names = summarise(frames, 1).species
    expected = [-1.0 - ["H", "C", "O", "Si"].index(element_of(name)) for name in names]
    assert energy_bias(dataset, names, "isolated_atoms").tolist() == expected
    model = load_model(trained(tmp_path / "run", 1, [*stretched(4), *alone], training={"steps": 1}))
    dataset = Dataset(frames, model.card.type_map, 1.35)
    before = predict([model], dataset).energies
    shift = change_bias(model, dataset, "isolated_atoms")
    np.testing.assert_allclose(predict([model], dataset).energies, before + dataset.counts @ shift, atol=1e-9)
    np.testing.assert_allclose(predict([model], dataset).energies[4:], frames.energies[4:], atol=1e-9)
    of_hydrogen = [value for name, value in zip(model.card.type_map, shift, strict=True) if element_of(name) == "H"]
    assert len(of_hydrogen) == 4
    assert np.ptp(of_hydrogen) == 0.0


def test_a_run_goes_on(tmp_path, monkeypatch):
    options = {"training": {"steps": 12, "checkpoint_every": 5}}
    trained(tmp_path / "whole", 1, **options)
    release = interrupt_at(monkeypatch, 7)
    trained(tmp_path / "parts", 1, **options)
    release()
    assert load_checkpoint(tmp_path / "parts" / "checkpoint.pt").step == 7
    trained(tmp_path / "parts", 1, restart=True, **options)
    assert equal(tmp_path / "whole" / "model.pth", tmp_path / "parts" / "model.pth")


def test_commands(tmp_path, capsys, bonded):
    write(tmp_path / "some.xyz", stretched(5, seed=3))
    status, out, _ = deeppot(capsys, "evaluate", bonded, tmp_path / "some.xyz")
    assert status == 0
    first = [line.split(" ")[0] for line in out.splitlines()]
    assert [word for word in first if word in ("H", "C", "O", "Si")] == ["H", "C", "O", "Si"]
    status, out, _ = deeppot(capsys, "info", bonded)
    assert status == 0
    assert "elements        H, C, O, Si\nspecies         H(C), H(O), H(Si), C(HHHO), O(CH), O(HSi), Si(HHHO)\n" in out
    assert "closest pairs   C-H 1.0" in out


def test_names_survive_deepmd_kit(tmp_path, capsys, bonded):
    card = load_model(bonded).card
    assert deeppot(capsys, "export", bonded, tmp_path / "out.dp")[0] == 0
    again = load_model(tmp_path / "out.dp").card
    assert (again.type_map, again.config.bonds) == (card.type_map, 1)
    atoms = stretched(1, seed=3)[0]
    forces = []
    for path in (bonded, tmp_path / "out.dp"):
        atoms.calc = DeepPotCalculator(path)
        forces.append(atoms.get_forces())
    np.testing.assert_allclose(*forces, atol=1e-9)


def test_names_must_suit_the_bonds():
    card = random_model(("H(C)", "C(HHHH)")).card
    with pytest.raises(ConfigError, match=r"expected names of species with bonds = 2 in type_map, got \['H\(C\)'"):
        replace(card.config, bonds=2)
    with pytest.raises(ConfigError, match=r"expected names of species with bonds = 0 in type_map"):
        replace(card.config, bonds=0)
    with pytest.raises(ConfigError, match="expected bonds >= 0, got -1"):
        replace(card.config, bonds=-1)
