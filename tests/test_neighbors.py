"""The neighbour search against ASE's, and the Verlet list against the search."""

import itertools
import tracemalloc
from unittest import mock

import numpy as np
import pytest
from ase.neighborlist import primitive_neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st

from ase_deeppot.compiler import compilable
from ase_deeppot.neighbors import Pairs, VerletList, neighbor_pairs
from ase_deeppot.neighbors.lattice import reduction
from ase_deeppot.neighbors.pairs import within_cutoff
from ase_deeppot.neighbors.search import search

needs_numba = pytest.mark.skipif(not compilable(), reason="needs numba")

PERIODICITIES = list(itertools.product([False, True], repeat=3))
CELLS = {
    "cubic": np.diag([4.0, 4.0, 4.0]),
    "triclinic": np.array([[5.0, 0.2, -0.4], [1.7, 4.0, 0.3], [-1.1, 0.9, 6.0]]),
    "left-handed": np.array([[0.0, 4.0, 0.1], [5.0, 0.0, 0.3], [0.2, 0.4, 3.0]]),
    "sheared by many cells": np.array([[3.0, 0.0, 0.0], [25.3, 3.5, 0.0], [-31.1, 17.2, 4.0]]),
    "needle": np.diag([1.1, 1.3, 40.0]),
    "flat": np.array([[20.0, 0.0, 0.0], [9.0, 21.0, 0.0], [0.3, 0.2, 1.2]]),
}


def sorted_by_ase(positions, cell, pbc, cutoff):
    """Pairs from ASE, in our order."""
    i, j, shifts, vectors = primitive_neighbor_list("ijSD", pbc, cell, positions, cutoff)
    order = np.lexsort((*shifts.T[::-1], j, i))
    return i[order], j[order], shifts[order], vectors[order]


def assert_matches_ase(positions, cell, pbc, cutoff, oracle_cell=None):
    pbc = np.array(pbc)
    pairs = neighbor_pairs(positions, cell, pbc, cutoff)
    i, j, shifts, vectors = sorted_by_ase(positions, cell if oracle_cell is None else oracle_cell, pbc, cutoff)
    np.testing.assert_array_equal(np.c_[pairs.i, pairs.j, pairs.shifts], np.c_[i, j, shifts])
    np.testing.assert_allclose(pairs.vectors, vectors, rtol=0, atol=1e-11 * (1 + np.abs(positions).max()))
    return pairs


def assert_identical(a: Pairs, b: Pairs):
    """Bit for bit, order included."""
    np.testing.assert_array_equal(np.c_[a.i, a.j, a.shifts], np.c_[b.i, b.j, b.shifts])
    np.testing.assert_array_equal(a.vectors, b.vectors)


def scattered(atoms, cell, seed, reach=0.5):
    """Random positions, up to ``reach`` cells outside the cell."""
    return np.random.default_rng(seed).uniform(-reach, 1 + reach, (atoms, 3)) @ cell


# ---- the search


@pytest.mark.parametrize("pbc", PERIODICITIES)
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS.keys())
def test_equals_ase(cell, pbc):
    pairs = assert_matches_ase(scattered(12, cell, seed=1), cell, pbc, cutoff=4.3)
    assert len(pairs.i) > 0


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    atoms=st.integers(1, 9),
    pbc=st.sampled_from(PERIODICITIES),
    shear=st.floats(0, 6),
    cutoff=st.floats(0.3, 7.0),
)
def test_equals_ase_in_random_cells(seed, atoms, pbc, shear, cutoff):
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    cell = (np.diag(rng.uniform(2, 7, 3)) + shear * np.tril(rng.normal(size=(3, 3)), -1)) @ rotation
    assert_matches_ase(rng.uniform(-4, 5, (atoms, 3)) @ cell, cell, pbc, cutoff)


@pytest.mark.parametrize("factor", [0.9, 1.1, 3.1])
def test_one_atom_sees_its_own_images(factor):
    cell = CELLS["triclinic"]
    pairs = assert_matches_ase(np.array([[0.3, -7.0, 2.0]]), cell, (True, True, True), factor * 5.0)
    assert np.abs(pairs.shifts).max(initial=0) >= int(factor)


@pytest.mark.parametrize(
    ("vectors", "pbc"),
    [
        ({0: [0, 0, 0]}, (False, True, True)),
        ({0: [0, 0, 0], 2: [0, 0, 0]}, (False, True, False)),
        ({0: [0, 0, 0], 1: [0, 0, 0], 2: [0, 0, 0]}, (False, False, False)),
        ({2: [1.7, 4.0, 0.3]}, (True, True, False)),
        ({0: [-2.2, 1.8, 12.0], 1: [1e-9, 0, 0]}, (False, False, True)),
    ],
)
def test_vectors_of_directions_that_are_not_periodic_do_not_matter(vectors, pbc):
    cell, positions = CELLS["triclinic"].copy(), scattered(10, CELLS["triclinic"], seed=2)
    for axis, vector in vectors.items():
        cell[axis] = vector
    assert_matches_ase(positions, cell, pbc, 4.0, oracle_cell=CELLS["triclinic"])


@pytest.mark.parametrize("pbc", [(True, False, False), (True, True, False)])
def test_wires_and_slabs_of_any_extent(pbc):
    rng = np.random.default_rng(3)
    cluster = rng.uniform(0, 3, (5, 3))
    far = np.array([0.0, 0.0, 3e5])
    positions = np.concatenate([cluster, cluster + far, cluster - 2 * far])
    near = neighbor_pairs(cluster, np.diag([3.5, 9.0, 0.0]), np.array(pbc), 4.0)
    pairs = neighbor_pairs(positions, np.diag([3.5, 9.0, 0.0]), np.array(pbc), 4.0)
    assert len(near.i) > 0
    np.testing.assert_array_equal(pairs.i, np.concatenate([near.i + start for start in (0, 5, 10)]))
    np.testing.assert_array_equal(pairs.j, np.concatenate([near.j + start for start in (0, 5, 10)]))
    np.testing.assert_array_equal(pairs.shifts, np.tile(near.shifts, (3, 1)))


@pytest.mark.parametrize("cells_away", [1, 300, 10**7])
def test_atoms_outside_the_cell_keep_their_neighbours(cells_away):
    cell, pbc = CELLS["triclinic"], np.array([True, True, True])
    inside = scattered(9, cell, seed=4, reach=0.0)
    steps = np.random.default_rng(5).integers(-cells_away, cells_away + 1, (9, 3))
    home, away = (neighbor_pairs(x, cell, pbc, 4.0) for x in (inside, inside + steps @ cell))
    expected = np.c_[home.i, home.j, home.shifts + steps[home.i] - steps[home.j]]
    order = np.lexsort(expected.T[::-1])
    np.testing.assert_array_equal(np.c_[away.i, away.j, away.shifts], expected[order])
    np.testing.assert_allclose(away.vectors, home.vectors[order], rtol=0, atol=1e-13 * cells_away + 1e-12)


def test_atoms_at_the_same_place_are_a_pair():
    cell, pbc = np.diag([8.0, 8.0, 8.0]), np.array([True, True, True])
    pairs = neighbor_pairs(np.array([[0.0, 1, 1], [0, 1, 1], [8, 1, 1]]), cell, pbc, 2.0)
    assert (pairs.i.tolist(), pairs.j.tolist()) == ([0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1])
    assert pairs.shifts[:, 0].tolist() == [0, -1, 0, -1, 1, 1]
    assert not pairs.vectors.any()


def test_pair_at_the_cutoff_is_left_out():
    cell, pbc = np.eye(3), np.array([True, True, True])
    assert len(neighbor_pairs(np.zeros((1, 3)), cell, pbc, 1.0).i) == 0
    assert len(neighbor_pairs(np.zeros((1, 3)), cell, pbc, np.nextafter(1.0, 2.0)).i) == 6


@pytest.mark.parametrize("pbc", PERIODICITIES)
@pytest.mark.parametrize("atoms", [0, 1, 2])
def test_shapes_and_types_without_neighbours(atoms, pbc):
    positions = np.arange(3.0 * atoms).reshape(atoms, 3)
    for pairs in (
        neighbor_pairs(positions, np.diag([9.0, 9.0, 9.0]), np.array(pbc), 1.0),
        VerletList(1.0, 0.3).update(positions, np.diag([9.0, 9.0, 9.0]), np.array(pbc)),
    ):
        assert (pairs.i.shape, pairs.j.shape, pairs.vectors.shape, pairs.shifts.shape) == ((0,), (0,), (0, 3), (0, 3))
        assert (pairs.i.dtype, pairs.j.dtype, pairs.vectors.dtype) == (np.int64, np.int64, np.float64)


@pytest.mark.parametrize("cutoff", [2.5, 9.0])
def test_sorted_by_centre_neighbour_and_shift_and_every_pair_has_its_mirror_image(cutoff):
    cell, pbc = CELLS["triclinic"], np.array([True, True, True])
    pairs = neighbor_pairs(scattered(20, cell, seed=6), cell, pbc, cutoff)
    forth, back = np.c_[pairs.i, pairs.j, pairs.shifts], np.c_[pairs.j, pairs.i, -pairs.shifts]
    np.testing.assert_array_equal(np.lexsort(forth.T[::-1]), np.arange(len(forth)))
    mirror = np.lexsort(back.T[::-1])
    np.testing.assert_array_equal(back[mirror], forth)
    np.testing.assert_array_equal(pairs.vectors[mirror], -pairs.vectors)
    assert pairs.vectors.flags.c_contiguous


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_position_that_is_not_finite_is_refused(bad):
    positions = np.array([[0.0, 0, 0], [0, bad, 0]])
    with pytest.raises(ValueError, match="expected finite positions"):
        neighbor_pairs(positions, np.eye(3), np.array([True, False, True]), 2.0)


def test_memory_is_linear_in_the_number_of_atoms():
    def peak(atoms):
        cell = np.eye(3) * (atoms / 0.1) ** (1 / 3)
        positions = scattered(atoms, cell, seed=7, reach=0.0)
        tracemalloc.start()
        neighbor_pairs(positions, cell, np.array([True, True, True]), 4.0)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    small, large = peak(2000), peak(8000)
    assert large < 5 * small
    assert large < 8000 * 27 * 150  # bytes a pair


# ---- the cutoff, compiled


def filtered_both_ways(candidates, positions, cell, cutoff):
    """Pairs from the compiled pass, and from NumPy."""
    results = []
    for compiled in (True, False):
        with mock.patch("ase_deeppot.neighbors.pairs.compilable", lambda compiled=compiled: compiled):
            results.append(within_cutoff(candidates, positions, cell, cutoff))
    return results


@needs_numba
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), atoms=st.integers(0, 9), pbc=st.sampled_from(PERIODICITIES),
       cell=st.sampled_from(list(CELLS.values())), cutoff=st.floats(0.3, 6.0), skin=st.floats(0.0, 2.0),
       stretch=st.floats(0.9, 1.1))
def test_compiled_pass_gives_the_bits_of_numpy(seed, atoms, pbc, cell, cutoff, skin, stretch):
    positions = scattered(atoms, cell, seed)
    candidates = search(positions, cell, np.array(pbc), cutoff + skin)
    compiled, plain = filtered_both_ways(candidates, positions * stretch, cell * stretch, cutoff)
    assert_identical(compiled, plain)
    for one, other in zip(compiled, plain, strict=True):
        assert one.dtype == other.dtype
    assert compiled.vectors.flags.c_contiguous


@needs_numba
def test_compiled_pass_with_many_candidates_and_shifts():
    """More than NumPy takes at a time, and shifts that need more than a byte."""
    positions, cell = scattered(150, CELLS["triclinic"], seed=1), CELLS["triclinic"]
    candidates = search(positions, cell, np.ones(3, bool), 16.0)
    assert len(candidates.i) > 2 << 15
    assert candidates.shift_index.dtype == np.uint16
    compiled, plain = filtered_both_ways(candidates, positions, cell, 15.0)
    assert 0 < len(plain.i) < len(candidates.i)
    assert_identical(compiled, plain)


@needs_numba
def test_compiled_pass_decides_as_numpy_at_the_cutoff():
    """The cutoff at the length of each pair in turn, and a rounding error beside it."""
    positions, cell = scattered(8, CELLS["triclinic"], seed=3), CELLS["triclinic"]
    candidates, counts = search(positions, cell, np.ones(3, bool), 4.0), set()
    for length in np.linalg.norm(neighbor_pairs(positions, cell, np.ones(3, bool), 4.0).vectors, axis=1):
        for cutoff in (np.nextafter(length, 0), length, np.nextafter(length, 9)):
            compiled, plain = filtered_both_ways(candidates, positions, cell, cutoff)
            assert_identical(compiled, plain)
            counts.add(len(plain.i))
    assert len(counts) > 50


# ---- the lattice


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), shear=st.floats(0, 1e4), d=st.integers(1, 3))
def test_reduced_vectors_span_the_same_lattice_and_are_shortest(seed, shear, d):
    rng = np.random.default_rng(seed)
    vectors = (np.eye(3) + shear * np.tril(rng.normal(size=(3, 3)), -1) + 0.3 * rng.normal(size=(3, 3)))[:d]
    transform = reduction(vectors)
    assert transform.dtype == np.int64
    assert abs(round(np.linalg.det(transform))) == 1
    short = transform @ vectors
    lengths = np.linalg.norm(short, axis=1)
    for c in itertools.product([-1, 0, 1], repeat=d):  # Minkowski's conditions
        assert np.linalg.norm(c @ short) >= (1 - 1e-6) * lengths[np.array(c) != 0].max(initial=0.0)


def test_shear_by_thousands_of_cells_changes_nothing_but_the_shifts():
    cell, pbc = CELLS["triclinic"], np.array([True, True, True])
    shear = np.array([[1, 0, 0], [9876, 1, 0], [-54321, 4567, 1]])
    positions = scattered(9, cell, seed=17)
    plain, sheared = neighbor_pairs(positions, cell, pbc, 4.0), neighbor_pairs(positions, shear @ cell, pbc, 4.0)
    expected = np.c_[sheared.i, sheared.j, sheared.shifts @ shear]
    order = np.lexsort(expected.T[::-1])
    np.testing.assert_array_equal(expected[order], np.c_[plain.i, plain.j, plain.shifts])
    np.testing.assert_allclose(sheared.vectors[order], plain.vectors, rtol=0, atol=1e-6)  # S @ cell cancels 1e9 A


# ---- the Verlet list


def random_walk(seed, cell, steps, length, atoms=40):
    rng = np.random.default_rng(seed)
    positions = scattered(atoms, cell, seed)
    for _ in range(steps):
        yield positions
        positions = positions + rng.uniform(-length, length, positions.shape)


@pytest.mark.parametrize("pbc", PERIODICITIES)
def test_list_equals_search_on_a_walk_and_is_reused(pbc):
    cell, pbc, verlet = CELLS["triclinic"] * 1.5, np.array(pbc), VerletList(3.0, 0.8)
    for positions in random_walk(8, cell, steps=40, length=0.06):
        assert_identical(verlet.update(positions, cell, pbc), neighbor_pairs(positions, cell, pbc, 3.0))
    assert 2 <= verlet.builds <= 20


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.floats(0, 0.4), pbc=st.sampled_from(PERIODICITIES))
def test_list_equals_search_while_the_cell_changes(seed, size, pbc):
    rng = np.random.default_rng(seed)
    cell, pbc, verlet = CELLS["triclinic"], np.array(pbc), VerletList(3.0, 1.0)
    positions = scattered(12, cell, seed)
    for _ in range(4):
        assert_identical(verlet.update(positions, cell, pbc), neighbor_pairs(positions, cell, pbc, 3.0))
        strain = np.eye(3) + size * rng.uniform(-0.3, 0.3, (3, 3))
        positions, cell = positions @ strain + size * rng.uniform(-0.3, 0.3, positions.shape), cell @ strain


def test_list_survives_a_small_strain_but_not_a_large_one():
    cell, pbc, verlet = CELLS["triclinic"], np.array([True, True, True]), VerletList(4.0, 1.0)
    positions = scattered(12, cell, seed=9)
    for scale, builds in [(1.0, 1), (0.98, 1), (1.05, 1), (0.81, 1), (0.79, 2), (0.79, 2)]:
        pairs = verlet.update(positions * scale, cell * scale, pbc)
        assert_identical(pairs, neighbor_pairs(positions * scale, cell * scale, pbc, 4.0))
        assert verlet.builds == builds


def test_vector_of_a_direction_that_is_not_periodic_may_change():
    cell, pbc, verlet = CELLS["cubic"].copy(), np.array([True, False, True]), VerletList(3.0, 0.5)
    positions = scattered(8, cell, seed=10)
    verlet.update(positions, cell, pbc)
    cell[1] = 0.0
    assert_identical(verlet.update(positions, cell, pbc), neighbor_pairs(positions, cell, pbc, 3.0))
    assert verlet.builds == 1


def test_list_holds_for_moves_of_half_the_skin_and_no_longer():
    pbc, cell, verlet = np.array([False, False, False]), np.zeros((3, 3)), VerletList(2.0, 1.0)
    x = np.array([0.0, 3.0001])
    for inwards, builds, pairs in [(0.0, 1, 0), (0.4999, 1, 0), (-0.4999, 1, 0), (0.5001, 2, 2)]:
        positions = np.array([[x[0] + inwards, 0, 0], [x[1] - inwards, 0, 0]])
        assert len(verlet.update(positions, cell, pbc).i) == pairs
        assert verlet.builds == builds


def test_without_skin_the_list_is_made_anew_unless_nothing_moved():
    cell, pbc, verlet = CELLS["cubic"], np.array([True, True, True]), VerletList(3.0, 0.0)
    positions = scattered(10, cell, seed=11)
    for step, builds in [(0.0, 1), (0.0, 1), (1e-6, 2), (1e-6, 2)]:
        pairs = verlet.update(positions + step, cell, pbc)
        assert_identical(pairs, neighbor_pairs(positions + step, cell, pbc, 3.0))
        assert verlet.builds == builds


def test_list_sees_what_the_caller_changes_in_place():
    cell, pbc, verlet = CELLS["cubic"].copy(), np.array([True, True, True]), VerletList(3.0, 0.5)
    positions = scattered(10, cell, seed=12)
    for change in (
        lambda: None,
        lambda: np.multiply(positions, 1.3, out=positions),
        lambda: np.multiply(cell, 1.2, out=cell),
        lambda: np.logical_not([False, True, False], out=pbc),
    ):
        change()
        assert_identical(verlet.update(positions, cell, pbc), neighbor_pairs(positions, cell, pbc, 3.0))
    assert verlet.builds == 4


def test_result_belongs_to_the_caller():
    cell, pbc, verlet = CELLS["cubic"], np.array([True, True, True]), VerletList(3.0, 0.5)
    positions = scattered(10, cell, seed=13)
    first = verlet.update(positions, cell, pbc)
    for array in first[:4]:
        array[...] = 0
    assert_identical(verlet.update(positions, cell, pbc), neighbor_pairs(positions, cell, pbc, 3.0))


def test_atoms_may_come_and_go():
    cell, pbc, verlet = CELLS["cubic"], np.array([True, True, True]), VerletList(3.0, 0.5)
    positions = scattered(10, cell, seed=14)
    for atoms, builds in [(10, 1), (9, 2), (0, 3), (1, 4), (10, 5)]:
        pairs = verlet.update(positions[:atoms], cell, pbc)
        assert_identical(pairs, neighbor_pairs(positions[:atoms], cell, pbc, 3.0))
        assert verlet.builds == builds


def test_list_is_as_before_after_a_position_that_is_not_finite():
    cell, pbc, verlet = CELLS["cubic"], np.array([True, True, True]), VerletList(3.0, 0.5)
    positions = scattered(10, cell, seed=15)
    verlet.update(positions, cell, pbc)
    bad = positions.copy()
    bad[3, 1] = np.nan
    for _ in range(2):
        with pytest.raises(ValueError, match="expected finite positions"):
            verlet.update(bad, cell, pbc)
    assert_identical(verlet.update(positions, cell, pbc), neighbor_pairs(positions, cell, pbc, 3.0))
    assert verlet.builds == 1


def test_atoms_may_jump_by_whole_cells_and_cross_faces():
    cell, pbc, verlet = CELLS["triclinic"], np.array([True, True, True]), VerletList(3.0, 0.5)
    positions = scattered(10, cell, seed=16)
    verlet.update(positions, cell, pbc)
    positions[4] += cell[0] - 2 * cell[2]
    assert_identical(verlet.update(positions, cell, pbc), neighbor_pairs(positions, cell, pbc, 3.0))
    on_faces = np.floor(positions @ np.linalg.inv(cell)) @ cell
    for builds, step in [(3, 0.06), (3, -0.06)]:
        pairs = verlet.update(on_faces + step, cell, pbc)
        assert_identical(pairs, neighbor_pairs(on_faces + step, cell, pbc, 3.0))
        assert verlet.builds == builds
