"""What LAMMPS must be, and how it is said when it is not."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from lammps_systems import write_water

BOX = "units metal\nread_data water.data\n"
OURS = "pair_style deeppot\npair_coeff * * O H\n"

REFUSED = {
    "units": (BOX.replace("metal", "real") + OURS, "water", "ConfigError: expected 'units metal' .*, got 'units real'"),
    "before the box": ("units metal\n" + OURS, "water", "ConfigError: expected pair_coeff after the simulation "
                       "box is made, got none yet"),
    "unknown element": (BOX + OURS.replace("O H", "O D"), "water",
                        r"ConfigError: expected elements of the model \(.*\) in pair_coeff, got D"),
    "too few elements": (BOX + OURS.replace("O H", "O"), "water",
                         "ConfigError: expected an element for each of 2 atom types in pair_coeff, got 1: O"),
    "a fix before": (BOX + "fix hold all setforce 0 0 0\n" + OURS, "water",
                     "ConfigError: expected pair_coeff before the first fix, .* got fix hold before"),
    "no model": (BOX + OURS, "", "ConfigError: in.lammps: expected one model, .* got none"),
    "two models": (BOX + OURS.replace("deeppot", "deeppot other.pth"), "water",
                   "ConfigError: in.lammps: expected one model, .* got 'other.pth' and 'water'"),
    "no such model": (BOX + OURS, "other.pth", "ModelFileError: .*other.pth"),
    "no such variable": (BOX + OURS.replace("O H", "${elements}"), "water",
                         r"ConfigError: expected a variable of the LAMMPS input, got '\${elements}'"),
    "an error of LAMMPS": (BOX + OURS + "fix 1 all nve\nfix 2 all nvt\n", "water", "ConfigError: LAMMPS: ERROR.*nvt"),
    "two dimensions": ("dimension 2\n" + BOX.replace("water", "flat") + OURS, "water",
                       "ConfigError: expected 'dimension 3' in the LAMMPS input, got 2"),
}


@pytest.fixture(scope="module")
def said(mpirun, tmp_path_factory):
    folder = tmp_path_factory.mktemp("refused")
    write_water(folder)
    text = re.sub(r"\S+ \s*\S+\s+zlo", "-0.5 0.5 zlo", (folder / "water.data").read_text())
    (folder / "flat.data").write_text(re.sub(r"(?m)^( +\d+ +[12] +\S+ +\S+) +\S+$", r"\1 0.0", text))
    (folder / "inputs.json").write_text(json.dumps([(text, model) for text, model, _ in REFUSED.values()]))
    result = mpirun(1, Path(__file__).with_name("refusals.py"), "inputs.json", cwd=folder)
    return dict(zip(REFUSED, json.loads(result.stdout.splitlines()[-1]), strict=True))


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(said, case):
    assert re.match(REFUSED[case][2], said[case]), said[case]


def lammps(mpirun, folder, text, processes=2):
    """Run an input that fails."""
    write_water(folder)
    (folder / "in.lammps").write_text(text)
    return mpirun(processes, "-m", "ase_deeppot.cli", "lammps", "in.lammps", "--model", "water", cwd=folder, status=2)


def test_an_error_is_said_once(mpirun, tmp_path):
    errors = lammps(mpirun, tmp_path, BOX + "pair_style deeppot\n").stderr
    assert errors.count("deeppot: in.lammps: expected a line 'pair_coeff * * ELEMENT ...'") == 1
    assert "Traceback" not in errors


def test_atoms_at_the_same_place_end_all_processes(mpirun, tmp_path):
    same = "set atom 1 x 3.0 y 3.0 z 3.0\nset atom 2 x 3.0 y 3.0 z 3.0\nfix 1 all nve\nrun 5\n"
    errors = lammps(mpirun, tmp_path, BOX + OURS + same).stderr
    assert "deeppot: warning: step 0: " in errors  # which distance, each process says for itself
    assert "deeppot: step 0: expected finite energies and forces, got others: atoms are at the same place" in errors
    assert "Traceback" not in errors


def test_atoms_without_ids(mpirun, tmp_path):
    box = ("units metal\natom_modify id no\nregion r block 0 9 0 9 0 9\ncreate_box 2 r\n"
           "create_atoms 1 random 5 42 NULL\nmass * 1.0\n")
    errors = lammps(mpirun, tmp_path, box + OURS + "run 1\n", 1).stderr
    assert "deeppot: step 0: expected atoms with ids, got some without: 'atom_modify id no'" in errors


def test_processes_that_do_not_know_of_each_other(mpirun, tmp_path):
    """As a foreign mpirun would start them."""
    write_water(tmp_path)
    (tmp_path / "in.lammps").write_text(BOX + OURS)
    result = subprocess.run([sys.executable, "-m", "ase_deeppot.cli", "lammps", "in.lammps", "--model", "water"],
                            cwd=tmp_path, env=os.environ | {"OMPI_COMM_WORLD_SIZE": "2"}, capture_output=True,
                            text=True)
    assert result.returncode == 2
    assert "expected 2 MPI processes that know of each other" in result.stderr
