"""g(r): against distances between all images, an ideal gas, and the bundled table."""

import numpy as np
import pytest
from ase import Atoms

from ase_deeppot.demo.rdf import BIN_WIDTH, BINS, ELEMENTS, first_peak, mean_rdf, read_rdf
from ase_deeppot.resources import find
from ase_deeppot.structures import from_atoms

LENGTH = 13.0  # A


def gas(n_molecules, seed):
    positions = np.random.default_rng(seed).uniform(-5.0, 20.0, (3 * n_molecules, 3))  # not wrapped
    return Atoms(["O", "H", "H"] * n_molecules, positions, cell=[LENGTH] * 3, pbc=True)


def by_distances_of_nearest_images(atoms, first, second):
    """Histogram of the minimum image distances, valid as the range is below half the cell."""
    distances = atoms.get_all_distances(mic=True)
    np.fill_diagonal(distances, np.inf)
    a, b = (np.array(atoms.symbols) == symbol for symbol in (first, second))
    counts, edges = np.histogram(distances[np.ix_(a, b)], BINS, (0.0, BINS * BIN_WIDTH))
    density = b.sum() / atoms.get_volume()
    return counts / (a.sum() * density * 4 / 3 * np.pi * (edges[1:] ** 3 - edges[:-1] ** 3))


def test_mean_over_frames_is_that_of_distances_of_nearest_images():
    frames = [gas(40, seed) for seed in (1, 2, 3)]
    rdf = mean_rdf(map(from_atoms, frames))
    for pair, (first, second) in {"OO": "OO", "OH": "OH", "HH": "HH"}.items():
        expected = np.mean([by_distances_of_nearest_images(frame, first, second) for frame in frames], axis=0)
        np.testing.assert_allclose(rdf.g[pair], expected, rtol=1e-12, err_msg=pair)


def test_ideal_gas_is_flat():
    rdf = mean_rdf([from_atoms(gas(400, 5))])
    far = rdf.r > 3.0
    assert {pair: pytest.approx(rdf.g[pair][far].mean(), abs=0.02) for pair in ELEMENTS} == dict.fromkeys(ELEMENTS, 1.0)


def test_bundled_table_has_the_same_bins():
    table = read_rdf(find("examples/data/water_rdf.csv"))
    np.testing.assert_allclose(table.r, mean_rdf([from_atoms(gas(2, 0))]).r, atol=1e-9)
    assert all(table.g[pair].shape == (BINS,) for pair in ELEMENTS)


def test_first_peak_of_the_bundled_table_is_the_known_one_of_water():
    r, height = first_peak(read_rdf(find("examples/data/water_rdf.csv")), "OO", 2.4, 3.5)
    assert r == pytest.approx(2.75, abs=0.1)
    assert 2.0 < height < 4.0
