import numpy as np
import pytest
from ase import Atoms
from ase.data import chemical_symbols
from hypothesis import given
from hypothesis import strategies as st

from ase_deeppot.errors import DeepPotError, StructureError
from ase_deeppot.structures import check_cell, elements_of, from_atoms, types_of

CUBE = np.eye(3) * 5.0


def test_arrays_are_checked_copies():
    atoms = Atoms("OH", [[0, 0, 0], [0, 0, 1]], cell=CUBE, pbc=(True, False, True))
    structure = from_atoms(atoms)
    assert [a.dtype for a in structure] == [np.int64, np.float64, np.float64, bool]
    np.testing.assert_array_equal(structure.numbers, [8, 1])
    np.testing.assert_array_equal(structure.positions, atoms.positions)
    np.testing.assert_array_equal(structure.cell, CUBE)
    np.testing.assert_array_equal(structure.pbc, [True, False, True])
    atoms.positions += 1.0
    atoms.cell[0] = 7.0
    atoms.numbers[0] = 3
    atoms.pbc = False
    np.testing.assert_array_equal(structure.positions[0], 0.0)
    np.testing.assert_array_equal(structure.cell, CUBE)
    assert structure.numbers[0] == 8
    assert structure.pbc.sum() == 2


def test_no_atoms():
    structure = from_atoms(Atoms())
    assert structure.positions.shape == (0, 3)
    assert types_of(structure.numbers, ["H"]).shape == (0,)


@given(cell=st.lists(st.floats(-10, 10), min_size=9, max_size=9).map(lambda x: np.array(x).reshape(3, 3)))
def test_volume(cell):
    volume = from_atoms(Atoms("H", cell=cell)).volume
    expected = abs(np.dot(cell[0], np.cross(cell[1], cell[2])))
    scale = np.linalg.norm(cell, axis=1).prod()
    assert volume == pytest.approx(expected, rel=1e-6, abs=1e-8 * scale)


@pytest.mark.parametrize("cell", [
    np.zeros((3, 3)), np.diag([5.0, 5.0, 0.0]), [[5, 0, 0], [0, 5, 0], [5, 5, 0]],
    [[0.1, 0.2, 0.3], [0.3, 0.6, 0.9], [0.7, 0.1, 0.3]], [[1.1, 2.3, 0.7], [0.3, 0.1, 0.9], [2.5, 4.7, 2.3]],
])
def test_dependent_vectors_span_no_volume(cell):
    assert from_atoms(Atoms("H", cell=cell)).volume == 0.0


def test_a_flat_but_proper_cell_has_a_volume():
    assert from_atoms(Atoms("H", cell=[[3, 0, 0], [2.9, 0.1, 0], [0, 0, 100]])).volume == pytest.approx(30.0)


@given(value=st.sampled_from([np.nan, np.inf, -np.inf]), atom=st.integers(0, 3), axis=st.integers(0, 2))
def test_the_atom_whose_position_is_no_number_is_named(value, atom, axis):
    atoms = Atoms("H4", np.arange(12.0).reshape(4, 3))
    atoms.positions[atom, axis] = value
    with pytest.raises(StructureError, match=f"expected finite positions, got .* for atom {atom}$"):
        from_atoms(atoms)


class TestCells:
    @given(value=st.sampled_from([np.nan, np.inf]), row=st.integers(0, 2), column=st.integers(0, 2))
    def test_not_finite(self, value, row, column):
        cell = CUBE.copy()
        cell[row, column] = value
        with pytest.raises(StructureError, match="expected a finite cell, got"):
            check_cell(cell, np.zeros(3, bool))

    @pytest.mark.parametrize("axis", range(3))
    def test_zero_vector_along_a_periodic_direction(self, axis):
        cell, pbc = CUBE.copy(), np.zeros(3, bool)
        cell[axis] = 0.0
        check_cell(cell, pbc)
        pbc[axis] = True
        with pytest.raises(StructureError, match=f"expected a cell vector along periodic direction {axis}"):
            check_cell(cell, pbc)
        with pytest.raises(StructureError, match="set the cell, or pbc=False there"):
            from_atoms(Atoms("H", cell=cell, pbc=pbc))

    def test_dependent_vectors(self):
        cell = np.array([[3.0, 0, 0], [0, 4.0, 0], [3.0, 4.0, 0]])
        with pytest.raises(StructureError, match="expected independent cell vectors along periodic directions"):
            check_cell(cell, np.ones(3, bool))
        check_cell(cell, np.array([True, True, False]))

    @pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
    def test_lengths_do_not_matter_for_independence(self, scale):
        check_cell(np.diag([1e-3, 1.0, 1e5]) * scale, np.ones(3, bool))
        with pytest.raises(StructureError, match="independent"):
            check_cell(np.array([[1, 2, 3], [2, 4, 6], [0, 0, 1]]) * scale, np.ones(3, bool))

    @given(pbc=st.tuples(*[st.booleans()] * 3))
    def test_cube(self, pbc):
        check_cell(CUBE, np.array(pbc))


class TestTypes:
    @given(numbers=st.lists(st.sampled_from([1, 8, 29]), max_size=9), order=st.permutations(["H", "O", "Cu"]))
    def test_index_into_the_type_map(self, numbers, order):
        types = types_of(np.array(numbers, dtype=np.int64), order)
        assert types.dtype == np.int64
        assert [order[t] for t in types] == [chemical_symbols[z] for z in numbers]

    def test_unknown_elements_are_named(self):
        with pytest.raises(StructureError, match=r"expected elements of the model \(H, O\), got Cu, Fe$"):
            types_of(np.array([8, 29, 26, 29]), ["H", "O"])

    @pytest.mark.parametrize("number", [0, 118, 119, 500, -1])
    def test_numbers_that_are_no_element(self, number):
        with pytest.raises(StructureError, match="expected elements of the model"):
            types_of(np.array([1, number]), ["H"])


def test_elements_of():
    assert elements_of(np.array([29, 1, 8, 1])) == ("H", "O", "Cu")
    assert elements_of(np.array([], dtype=int)) == ()


def test_errors_can_be_caught_as_one():
    assert issubclass(StructureError, DeepPotError)
    assert issubclass(StructureError, ValueError)
