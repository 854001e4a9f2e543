"""Frame and atomic parameters in the calculator: from atoms.info and atoms.arrays, and part of what it remembers."""

import copy
import pickle

import numpy as np
import oracles
import pytest
from ase.calculators.calculator import InputError
from builders import random_atoms, random_model
from interop import deepmd_files as files

from ase_deeppot import DeepPotCalculator
from ase_deeppot.cli import main


def parameters(frame=2, atom=1):
    p = oracles.parameters_of(random_model(l_max=1, sel=(30, 31), rcut=3.0))
    return files.with_parameters(p._replace(mean=np.zeros_like(p.mean), scale=1.0), frame, atom)


def write(path, frame=2, atom=1, **fitting):
    path.write_bytes(files.dp(files.parameter_tree(parameters(frame, atom), frame, fitting=fitting)))
    return path


@pytest.fixture
def foreign(tmp_path):
    return write(tmp_path / "theirs.dp")


def given(n=6):
    atoms = random_atoms(n, seed=1)
    atoms.info["fparam"] = [0.3, -0.2]
    atoms.arrays["aparam"] = np.linspace(-1, 1, n)
    return atoms


def reference(atoms, p=None):
    p, frame = p or parameters(), np.atleast_1d(atoms.info.get("fparam", []))
    extra = np.column_stack([np.tile(frame, (len(atoms), 1)), atoms.arrays.get("aparam", np.zeros((len(atoms), 0)))])
    types = np.array([{"H": 0, "O": 1}[symbol] for symbol in atoms.symbols])
    around = oracles.neighbors(atoms.positions, atoms.cell[:], atoms.pbc, p.rcut)
    return float(oracles.atomic_energies(p._replace(extra=extra), types, around).sum())


def test_both_are_taken(foreign):
    atoms = given()
    atoms.calc = DeepPotCalculator(foreign)
    assert atoms.get_potential_energy() == pytest.approx(reference(atoms), abs=1e-8)


def test_a_changed_value_gives_a_new_result(foreign):
    atoms = given()
    atoms.calc = DeepPotCalculator(foreign)
    energies = [atoms.get_potential_energy()]
    atoms.info["fparam"] = np.array([0.4, -0.2])
    energies.append(atoms.get_potential_energy())
    atoms.info["fparam"][1] = 0.7  # in place
    energies.append(atoms.get_potential_energy())
    atoms.arrays["aparam"][2] = 0.9
    energies.append(atoms.get_potential_energy())
    assert energies[-1] == pytest.approx(reference(atoms), abs=1e-8)
    assert len(set(energies)) == 4
    results = atoms.calc.results
    assert atoms.calc.check_state(atoms) == []
    atoms.get_forces()
    assert atoms.calc.results is results  # nothing computed anew
    del atoms.info["fparam"]
    assert atoms.calc.check_state(atoms) == ["parameters"]


def test_other_entries_do_not_matter(foreign, tmp_path):
    atoms = given()
    atoms.calc = DeepPotCalculator(foreign)
    atoms.get_potential_energy()
    atoms.info["other"], atoms.arrays["tag"] = 1, np.ones(6)
    assert atoms.calc.check_state(atoms) == []
    plain = tmp_path / "plain.dp"
    p = oracles.parameters_of(random_model(l_max=1, sel=(30, 31), rcut=3.0))
    plain.write_bytes(files.dp(files.tree(p._replace(mean=np.zeros_like(p.mean), scale=1.0))))
    atoms.calc = DeepPotCalculator(plain)  # takes none
    atoms.get_potential_energy()
    atoms.info["fparam"] = [5.0, 5.0]
    assert atoms.calc.check_state(atoms) == []


@pytest.mark.parametrize(("change", "message"), [
    (lambda atoms: atoms.info.pop("fparam"), r"numbers in the shape \[2\] in atoms.info\['fparam'\].*got none"),
    (lambda atoms: atoms.info.update(fparam=1.0), r"\[2\] in atoms.info\['fparam'\].*got shape \[\]"),
    (lambda atoms: atoms.info.update(fparam=[1.0, np.nan]), "not finite"),
    (lambda atoms: atoms.info.update(fparam="hot"), "got 'hot'"),
    (lambda atoms: atoms.arrays.pop("aparam"), r"\[6, 1\] in atoms.arrays\['aparam'\].*got none"),
    (lambda atoms: atoms.arrays.update(aparam=np.zeros((6, 2))), r"\[6, 1\] in atoms.arrays.*got shape \[6, 2\]"),
])
def test_missing_and_wrong_ones_are_told(foreign, change, message):
    atoms = given()
    atoms.calc = DeepPotCalculator(foreign)
    atoms.get_potential_energy()
    change(atoms)
    with pytest.raises(InputError, match=message):
        atoms.get_potential_energy()


def test_one_number_and_a_default(tmp_path):
    atoms = random_atoms(6, seed=1)
    atoms.calc = DeepPotCalculator(write(tmp_path / "model.dp", 1, 0, default_fparam=[0.25]))
    atoms.info["fparam"] = 0.25
    energy = atoms.get_potential_energy()
    assert energy == pytest.approx(reference(atoms, parameters(1, 0)), abs=1e-8)
    del atoms.info["fparam"]
    assert atoms.get_potential_energy() == energy
    assert atoms.calc.todict()  # and nothing of the atoms in it


def test_copies_and_pickles(foreign):
    atoms = given()
    atoms.calc = DeepPotCalculator(foreign)
    energy = atoms.get_potential_energy()
    for calc in (pickle.loads(pickle.dumps(atoms.calc)), copy.deepcopy(atoms.calc)):
        assert calc.check_state(atoms) == []
        again = given()
        again.calc = calc
        assert again.get_potential_energy() == energy


def test_no_atoms(foreign):
    atoms = given()[:0]
    atoms.calc = DeepPotCalculator(foreign)
    assert atoms.get_potential_energy() == 0.0


def test_converted_told_and_refused_elsewhere(foreign, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where training would put its folder
    ours, frames = tmp_path / "ours.pth", tmp_path / "frames.extxyz"
    assert main(["convert", str(foreign), str(ours)]) == 0
    assert main(["info", str(ours)]) == 0
    assert "takes           2 fparam, 1 aparam beside the structure" in capsys.readouterr().out
    atoms = given()
    atoms.calc = DeepPotCalculator(ours)
    assert atoms.get_potential_energy() == pytest.approx(reference(atoms), abs=1e-8)
    atoms.write(frames)
    (tmp_path / "input.toml").write_text('[data]\ntrain = ["frames.extxyz"]\n')
    out = ["--output", str(tmp_path / "new.pth")]
    for arguments in (["evaluate", str(ours), str(frames)], ["change-bias", str(ours), str(frames), *out],
                      ["train", str(tmp_path / "input.toml"), "--init-model", str(ours)]):
        capsys.readouterr()
        assert main(arguments) == 2, arguments
        assert "(2 fparam, 1 aparam) cannot be used" in capsys.readouterr().err
