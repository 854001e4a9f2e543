"""What is taken from the training frames, against counting atom by atom."""

import hashlib

import builders
import numpy as np
import oracles
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from ase_deeppot.errors import DataError
from ase_deeppot.fitting.bias import energy_bias
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.sources import read_frames
from ase_deeppot.fitting.statistics import SMALLEST_SPREAD, also_covered, content_hashes, domain, normalise, survey
from ase_deeppot.fitting.summary import summarise
from ase_deeppot.potential.card import Domain

TYPE_MAP = ("H", "O")
RCUT, RCUT_SMTH = 4.0, 1.0


def labelled(atoms, energy=None, **more):
    atoms.calc = SinglePointCalculator(atoms, energy=energy, **more)
    return atoms


def dataset_of(images, type_map=TYPE_MAP, rcut=RCUT):
    return Dataset(read_frames(images)[0], type_map, rcut)


@pytest.fixture(scope="module")
def images():
    return [labelled(builders.random_atoms(n, symbols, seed=n, pbc=pbc), -3.0 * n) for n, symbols, pbc in (
        (6, ("H", "O"), True), (1, ("O",), False), (4, ("H",), False), (7, ("H", "O"), (True, True, False)))]


def hashes_of(frames):
    return content_hashes(frames, summarise(frames))


def neighbours_by_species(images):
    """For each centre of each frame: its species, and the vectors to its neighbours of each species."""
    for atoms in images:
        types = [TYPE_MAP.index(symbol) for symbol in atoms.symbols]
        for i, mine in enumerate(oracles.neighbors(atoms.positions, atoms.cell[:], atoms.pbc, RCUT)):
            yield types[i], [[n.vector for n in mine if types[n.j] == t] for t in range(2)]


def test_normalisation_is_mean_and_spread_over_all_slots(images):
    model = builders.random_model()
    normalise(model.module.descriptor, survey(dataset_of(images), model.card.config))
    centres = list(neighbours_by_species(images))
    sel = [max(len(by_species[t]) for _, by_species in centres) for t in range(2)]
    assert model.module.descriptor.sel.tolist() == sel
    for t in range(2):
        slots = []
        for centre, by_species in centres:
            for u, vectors in enumerate(by_species):
                if centre == t:
                    rows = [oracles.environment_row(vector, RCUT_SMTH, RCUT) for vector in vectors]
                    slots += rows + [np.zeros(4)] * (sel[u] - len(rows))
        slots = np.array(slots)
        assert (slots[:, 0] == 0).sum() > 10  # empty slots count
        assert float(model.module.descriptor.davg[t]) == pytest.approx(slots[:, 0].mean(), rel=1e-12)
        np.testing.assert_allclose(model.module.descriptor.dstd[t],
                                   [slots[:, 0].std(), np.sqrt(np.mean(slots[:, 1:] ** 2))], rtol=1e-10)


def test_species_without_neighbours_are_not_blown_up():
    model, images = builders.random_model(), [labelled(Atoms("H", [[0, 0, 0]]), -13.6)]
    descriptor = model.module.descriptor
    normalise(descriptor, survey(dataset_of(images), model.card.config))
    assert descriptor.davg.tolist() == [0.0, 0.0]
    assert descriptor.dstd.tolist() == [[SMALLEST_SPREAD] * 2] * 2
    assert descriptor.sel.tolist() == [1.0, 1.0]


def test_the_domain_is_what_the_frames_cover(images):
    config = builders.random_model().card.config
    data = dataset_of([*images, labelled(builders.random_atoms(3, ("O",), seed=3), forces=np.full((3, 3), -7.0))])
    covered = domain(data, survey(data, config), TYPE_MAP)
    images = [*images, builders.random_atoms(3, ("O",), seed=3)]
    assert (covered.frames, covered.atoms) == (5, (1, 7))
    smallest, most = {}, [0, 0]
    for centre, by_species in neighbours_by_species(images):
        for t, vectors in enumerate(by_species):
            most[t] = max(most[t], len(vectors))
            name = "-".join(sorted((TYPE_MAP[centre], TYPE_MAP[t])))
            smallest[name] = min([smallest.get(name, np.inf), *(float(np.linalg.norm(v)) for v in vectors)])
    assert covered.smallest_distance == pytest.approx(smallest)
    assert covered.largest_neighbors == dict(zip(TYPE_MAP, most, strict=True))
    assert covered.composition == {"H": [0.0, 1.0], "O": [0.0, 1.0]}
    assert covered.energy_per_atom == (-3.0, -3.0)
    assert covered.largest_force == 7.0


def molecules(*formulas, energies):
    """Frames of given formulas: a least-squares problem with known answer."""
    return [labelled(Atoms(formula, np.arange(3 * len(Atoms(formula))).reshape(-1, 3)),
                     sum(energies[symbol] for symbol in Atoms(formula).symbols)) for formula in formulas]


def test_energy_bias_by_least_squares():
    data = dataset_of(molecules("H2O", "H2", "O3", energies={"H": -1.5, "O": -7.25}))
    np.testing.assert_allclose(energy_bias(data, TYPE_MAP, "least_squares"), [-1.5, -7.25], rtol=1e-12)


def test_energy_bias_of_compositions_that_cannot_be_told_apart():
    data = dataset_of(molecules("H2O", "H4O2", "HHO", energies={"H": -1.0, "O": -7.0}))
    bias = energy_bias(data, TYPE_MAP, "least_squares")
    np.testing.assert_allclose(bias, -9.0 * np.array([2.0, 1.0]) / 5.0, rtol=1e-12)  # the smallest of all solutions
    constant = dataset_of(molecules("H2O", energies={"H": -1.0, "O": -7.0}), ("O", "C", "H"))
    np.testing.assert_allclose(energy_bias(constant, ("O", "C", "H"), "least_squares"), [-1.8, 0.0, -3.6], atol=1e-12)


def test_frames_without_energies_do_not_count():
    images = [*molecules("H2O", "H2", energies={"H": -1.0, "O": -7.0}),
              labelled(Atoms("OH", [[0, 0, 0], [1, 0, 0]]), forces=np.ones((2, 3)))]
    np.testing.assert_allclose(energy_bias(dataset_of(images), TYPE_MAP, "least_squares"), [-1.0, -7.0], rtol=1e-12)
    assert energy_bias(dataset_of(images[2:]), TYPE_MAP, "least_squares").tolist() == [0.0, 0.0]


def test_energy_bias_of_isolated_atoms():
    images = [*molecules("H2O", "H", "O", "H", energies={"H": -13.0, "O": -400.0}),
              labelled(bulk("H", "sc", a=2.0), -99.0)]  # one atom a cell, but not alone
    images[3].calc.results["energy"] = -14.0
    np.testing.assert_allclose(energy_bias(dataset_of(images), TYPE_MAP, "isolated_atoms"), [-13.5, -400.0])
    with pytest.raises(DataError) as caught:
        energy_bias(dataset_of([images[0], images[1], images[4]]), TYPE_MAP, "isolated_atoms")
    assert str(caught.value) == ("expected a frame with one atom and its energy for each element (energy_bias = "
                                 "'isolated_atoms'), got none for O; use 'least_squares'")


def test_hashes_follow_content_and_not_the_name(images, tmp_path):
    frames, _ = read_frames(images)
    hashes = hashes_of(frames)
    assert list(hashes) == ["Atoms in memory"]
    assert len(hashes["Atoms in memory"]) == len(hashlib.sha256().hexdigest())
    assert hashes_of(read_frames(images[::-1])[0]) != hashes
    for name in ("positions", "cells", "energies", "numbers"):
        changed = getattr(frames, name).copy()
        changed.flat[0] += 1
        assert hashes_of(frames._replace(**{name: changed})) != hashes


def test_hashes_see_all_sources_of_one_name(images, tmp_path):
    from ase.io import write
    write(tmp_path / "between.extxyz", images[0])
    one = hashes_of(read_frames([images[0], tmp_path / "between.extxyz", images[1]])[0])
    other = hashes_of(read_frames([images[2], tmp_path / "between.extxyz", images[1]])[0])
    assert len(one) == 2
    assert one["Atoms in memory"] != other["Atoms in memory"]


def test_what_frames_cover_beside_earlier_ones():
    earlier = Domain(smallest_distance={"H-O": 0.9, "O-O": 2.5}, largest_neighbors={"H": 4, "O": 9},
                     composition={"H": [0.5, 0.7], "O": [0.3, 0.5]}, largest_force=3.0)
    now = Domain(frames=2, smallest_distance={"H-O": 1.0, "H-H": 1.5}, largest_neighbors={"H": 6, "O": 2},
                 composition={"H": [0.6, 0.8], "O": [0.2, 0.4]}, energy_per_atom=(-5.0, -4.0), largest_force=2.0)
    assert also_covered(now, earlier) == Domain(
        frames=2, smallest_distance={"H-O": 0.9, "O-O": 2.5, "H-H": 1.5}, largest_neighbors={"H": 6, "O": 9},
        composition={"H": [0.5, 0.8], "O": [0.2, 0.5]}, energy_per_atom=(-5.0, -4.0), largest_force=3.0)
    assert also_covered(now, Domain()) == now
