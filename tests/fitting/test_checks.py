"""What looks wrong in the data: each mistake found in the frame that has it, and nothing in sound data."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from ase_deeppot.config import parse
from ase_deeppot.fitting import FittingConfig, overview
from ase_deeppot.fitting.checks import MOST, findings
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.sources import read_frames
from ase_deeppot.fitting.statistics import survey
from ase_deeppot.fitting.summary import structure_keys

CONFIG = parse(FittingConfig, {"model": {"rcut": 4.0, "type_map": ["Cu", "Au"]}})


def dataset_of(images, config=CONFIG):
    return Dataset(read_frames(images)[0], config.model.type_map, config.model.rcut)


def found(images, validation=None):
    data = dataset_of(images)
    held_out = dataset_of(validation) if validation else None
    return list(findings(data, held_out, survey(data, CONFIG.model), CONFIG))


@pytest.fixture
def images(alloys):
    return alloys(24, seed=3)


def test_sound_data_raise_no_alarm(images, alloys):
    assert found(images, alloys(6, seed=4)) == []


def relabelled(atoms, results):
    """The atoms with results that are said to be theirs."""
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def break_force(images):
    images[7].calc.results["forces"][2] = [0.0, 250.0, 0.0]
    images[7].calc.results["forces"][0] -= images[7].calc.results["forces"].sum(0)


def break_energy(images):
    images[7].calc.results["energy"] += 3.0 * len(images[7])


def break_stress(images):
    images[7].calc.results["stress"] = images[7].calc.results["stress"] + 3.0


def break_net_force(images):
    images[7].calc.results["forces"] += 0.2


def break_distance(images):
    images[7].positions[1] = images[7].positions[0] + [0.9, 0.0, 0.0]
    relabelled(images[7], images[7].calc.results)


def break_by_repeating(images):
    images[7] = images[3].copy()
    images[7].calc = images[3].calc


def break_by_contradicting(images):
    images[7] = images[3].copy()
    results = images[3].calc.results
    relabelled(images[7], results | {"energy": results["energy"] + 0.1})


def break_by_losing_an_atom(images):
    symbols = ["Cu"] * 5
    images[7] = Atoms(symbols, [[0, 0, 0], [2.5, 0, 0], [0, 2.5, 0], [0, 0, 2.5], [30, 30, 30]])
    images[7].calc = SinglePointCalculator(images[7], forces=np.zeros((5, 3)))


@pytest.mark.parametrize(("mistake", "text"), [
    (break_force, "a force of "),
    (break_energy, "an energy +3.05 eV/atom from that of frames of such a composition, whose spread is "),
    (break_stress, "a stress of 3"),
    (break_net_force, "forces that add up to "),
    (break_distance, " only 0.90 A apart, where a bond has about "),
    (break_by_repeating, "the same structure as Atoms in memory frame 3"),
    (break_by_contradicting, "the same structure as Atoms in memory frame 3, with an energy that differs by 0.0"),
    (break_by_losing_an_atom, "an atom without neighbours within 4 A"),
])
def test_a_mistake_is_found_in_its_frame(images, mistake, text):
    mistake(images)
    lines = found(images)
    assert len(lines) == 1, lines
    assert lines[0].startswith("Atoms in memory frame 7: ")
    assert text in lines[0]


def test_leakage(images, alloys):
    held_out = [*alloys(2, seed=9), images[5].copy()]
    held_out[2].calc = images[5].calc
    (line,) = found(images, held_out)
    assert line.startswith("Atoms in memory frame 2: a validation frame that is trained on (Atoms in memory frame 5)")


def test_rare_species(alloys):
    images = alloys(24, seed=3, gold=0.0)
    images[11].symbols[:3] = "Au"
    relabelled(images[11], images[11].calc.results)
    assert any(line == "Atoms in memory frame 11: one of only 3 atoms of Au in the training frames"
               for line in found(images))
    assert "no Au in the training frames: its net stays as it is" in found(alloys(12, gold=0.0))


def test_many_of_a_kind_are_counted(images):
    lines = found([*images, *[copy for atoms in images[:9] for copy in [atoms.copy()]
                              if setattr(copy, "calc", atoms.calc) is None]])
    assert len(lines) == MOST + 1
    assert lines[-1] == "and 4 more like these"


def test_structures_are_the_same_to_rounding_only(images):
    moved, other = images[0].copy(), images[0].copy()
    moved.positions += 1e-9
    other.positions[0, 0] += 0.01
    for atoms in (moved, other):
        relabelled(atoms, images[0].calc.results)
    keys = list(structure_keys(read_frames([images[0], moved, other])[0]))
    assert keys[0] == keys[1] != keys[2]


def test_overview_against_counting(alloys, isolated):
    images = [*alloys(10, seed=2), isolated("Au")]
    data = dataset_of(images)
    lines = list(overview.describe(data, survey(data, CONFIG.model), CONFIG))
    text = "\n".join(lines)
    atoms = sum(map(len, images))
    gold = sum(int((image.symbols == "Au").sum()) for image in images)
    assert lines[0] == f"11 training frames of 1 to 8 atoms, {atoms} atoms in all"
    row = next(line.split() for line in lines if line.startswith("Au "))
    assert (int(row[1]), row[2]) == (gold, f"{gold / atoms:.1%}")
    largest = [np.linalg.norm(image.get_forces(), axis=1).max() for image in images]
    assert f"largest on an atom {max(largest):.4g} eV/A (Atoms in memory frame {np.argmax(largest)})" in text
    stress = [np.abs(image.get_stress()).max() for image in images[:-1]]
    assert f"largest component {max(stress):.4g} eV/A^3 (Atoms in memory frame {np.argmax(stress)})" in text
    assert f"isolated atoms  Cu not there, Au {images[-1].get_potential_energy():.4f} eV" in text
    distances = [(np.where(d > 0, d, np.inf).min(), k) for k, image in enumerate(images[:-1])
                 for d in [image.get_all_distances(mic=True)]]
    assert f"{min(distances)[0]:.2f} A (Atoms in memory frame {min(distances)[1]})" in text


def test_overview_of_few_molecules(alloys):
    """Of which polynomials know more than nets."""
    crystals, pair = alloys(3), Atoms("CuAu", [[0, 0, 0], [0, 0, 2.6]])
    pair.calc = SinglePointCalculator(pair, energy=-1.0, forces=np.zeros((2, 3)))
    solved = replace(CONFIG, training=replace(CONFIG.training, monomials=10))
    for images, config, hinted in (([pair], CONFIG, True), (crystals, CONFIG, False), ([pair], solved, False)):
        data = dataset_of(images)
        text = "\n".join(overview.describe(data, survey(data, config.model), config))
        assert ("training.monomials = 100 " in text) == hinted
    many = dataset_of([pair] * 400)
    assert "training.monomials = 800 " in "\n".join(overview.describe(many, survey(many, CONFIG.model), CONFIG))


def test_overview_without_labels(alloys):
    data = dataset_of(alloys(3, properties=("energy",)))
    text = "\n".join(overview.describe(data, survey(data, CONFIG.model), CONFIG))
    assert "forces          none" in text
    assert "stresses" not in text
    data = dataset_of(alloys(3, properties=("forces",)))
    assert "energies        none" in "\n".join(overview.describe(data, survey(data, CONFIG.model), CONFIG))
