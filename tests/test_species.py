import pytest
from hypothesis import given
from hypothesis import strategies as st

from ase_deeppot.species import (
    bonds_in,
    element_of,
    elements_among,
    name_of,
    of_other_bonds,
    unknown_species,
)

SYMBOLS = st.sampled_from(["H", "C", "N", "O", "Cl", "Si"])


def names(bonds):
    """Names with so many bonds, none of a lone atom."""
    if not bonds:
        return SYMBOLS
    return st.builds(name_of, SYMBOLS, st.lists(names(bonds - 1), min_size=1, max_size=4))


@given(st.integers(0, 3).flatmap(lambda bonds: st.tuples(st.just(bonds), names(bonds), names(bonds))))
def test_names_say_of_what_and_how_far(made):
    bonds, *species = made
    assert unknown_species(species) == of_other_bonds(species, bonds) == []
    assert bonds_in(species) == bonds
    assert of_other_bonds(species, bonds + 1) == species
    assert all(name.startswith(element_of(name)) and not unknown_species([element_of(name)]) for name in species)


def test_bonded_atoms_have_no_order():
    assert name_of("C", ["O", "H", "C"]) == name_of("C", ["H", "C", "O"]) == "C(CHO)"


def test_a_lone_atom_has_one_name_however_far_bonds_count():
    assert name_of("Ar", []) == "Ar()"
    assert not unknown_species(["Ar()"])
    assert of_other_bonds(["Ar()"], 1) == of_other_bonds(["Ar()"], 3) == []
    assert of_other_bonds(["Ar()"], 0) == ["Ar()"]


def test_elements_of_species_are_told_once():
    assert elements_among(["H(C)", "C(CHHH)", "H(O)", "O"]) == ("H", "C", "O")
    assert elements_among([]) == ()
    assert bonds_in([]) == 0


@pytest.mark.parametrize("name", ["", "Xx", "C(", "C)", "(C)", "CC", "C(HC)", "C(C(H)H)", "C(CH) ", "c(CH)", "C(CH)H",
                                  "C((H))", "C(H", "C(1)"])
def test_what_is_no_name(name):
    assert unknown_species(["C(CHH)", name]) == [name]
