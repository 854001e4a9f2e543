"""The two lines of an input that are ours, and what is said about others."""

import pytest

from ase_deeppot.errors import ConfigError
from ase_deeppot.lammps.script import parts, substitute


def test_input_is_cut_behind_pair_coeff():
    text = ("units metal\nread_data x.data\npair_style  deeppot  water.pth # ours\nneighbor 1.0 bin\n"
            "pair_coeff * * O H\nfix 1 all nve\nrun 10\n")
    first, last = parts(text, "in.lammps")
    assert first == ("units metal\nread_data x.data\nneighbor 1.0 bin\n", "water.pth", ("O", "H"))
    assert last == ("fix 1 all nve\nrun 10\n", "", ())


def test_several_systems_one_after_the_other():
    block = "clear\npair_style deeppot\npair_coeff * * {}\nrun 1\n"
    result = parts(block.format("O") + block.format("H"), "in.lammps")
    assert [part.elements for part in result] == [("O",), ("H",), ()]
    assert [part.commands for part in result] == ["clear\n", "run 1\nclear\n", "run 1\n"]


def test_lines_go_on_as_in_lammps():
    first, _ = parts("pair_style &\n  deeppot &\nwater\npair_coeff * * &\nO H\n", "in.lammps")
    assert first == ("", "water", ("O", "H"))


def test_other_styles_are_lammps_own():
    first, _ = parts("pair_style lj/cut 3.0\npair_coeff * * 1 1\npair_style deeppot\npair_coeff * * O\n", "in.lammps")
    assert first.commands == "pair_style lj/cut 3.0\npair_coeff * * 1 1\n"


@pytest.mark.parametrize(("text", "message"), [
    ("units metal\n", "in.lammps: expected a line 'pair_style deeppot' after the simulation box, got none"),
    ("pair_coeff * * O H\n", "expected a line 'pair_style deeppot' after"),
    ("# pair_style deeppot\n", "expected a line 'pair_style deeppot' after"),
    ("pair_style deeppot\nrun 1\n", r"expected a line 'pair_coeff \* \* ELEMENT ...' after 'pair_style deeppot'"),
    ("pair_style deeppot\npair_coeff * *\n", r"pair_coeff \* \*: expected 'pair_coeff \* \* ELEMENT ...'"),
    ("pair_style deeppot\npair_coeff 1 1 O\n", "pair_coeff 1 1 O: expected 'pair_coeff"),
    ("pair_style hybrid/overlay deeppot lj/cut 3\n", "it cannot be part of a hybrid style"),
    ("pair_style deeppot\npair_coeff * * O\nif ${fast} then 'run_style respa 2 2'\n", "expected 'run_style verlet'"),
    ("pair_style deeppot a.pth b.pth\n", "expected 'pair_style deeppot' or 'pair_style deeppot MODEL'"),
])
def test_input_that_is_not_as_expected(text, message):
    with pytest.raises(ConfigError, match=message):
        parts(text, "in.lammps")


def test_variables_are_put_in():
    values = {"model": "water.pth", "e": "O H"}
    assert substitute("${model} $e", values.get) == "water.pth O H"
    with pytest.raises(ConfigError, match=r"expected a variable of the LAMMPS input, got '\$\{none\}'"):
        substitute("${none}", values.get)
