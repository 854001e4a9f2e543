"""Results survive ASE's files."""

import numpy as np
import pytest
from ase.calculators.calculator import PropertyNotImplementedError
from ase.db import connect
from ase.io import Trajectory, read, write
from builders import random_atoms


@pytest.fixture
def atoms(calculator):
    atoms = random_atoms(7)
    atoms.calc = calculator()
    atoms.get_potential_energy()
    return atoms


def same(got, atoms, atol=0.0, properties=("energy", "forces", "stress")):
    for name in properties:
        np.testing.assert_allclose(got.calc.results[name], atoms.calc.results[name], rtol=0, atol=atol, err_msg=name)


def test_traj(atoms, tmp_path):
    atoms.get_stresses()  # which nothing else asks for
    write(tmp_path / "a.traj", atoms)
    same(read(tmp_path / "a.traj"), atoms, properties=atoms.calc.implemented_properties)


def test_traj_of_several_steps(atoms, tmp_path):
    energies = []
    with Trajectory(tmp_path / "a.traj", "w", atoms) as trajectory:
        for _ in range(3):
            atoms.positions[0] += 0.05
            energies.append(atoms.get_potential_energy())
            trajectory.write()
    assert [frame.get_potential_energy() for frame in read(tmp_path / "a.traj", ":")] == energies


def test_extxyz(atoms, tmp_path):
    write(tmp_path / "a.extxyz", atoms)
    same(read(tmp_path / "a.extxyz"), atoms, atol=1e-8)


@pytest.mark.parametrize("name", ["a.db", "a.json"])
def test_database(atoms, tmp_path, name):
    with connect(tmp_path / name) as db:
        db.write(atoms, label="x")
    row = connect(tmp_path / name).get(label="x")
    assert row.calculator == "deeppot"
    assert row.calculator_parameters == atoms.calc.todict()
    same(row.toatoms(), atoms)
    assert connect(tmp_path / name).count(f"energy<{atoms.get_potential_energy() + 1e-6}") == 1


def test_a_molecule_without_stress(calculator, tmp_path):
    atoms = random_atoms(3, cell=np.eye(3) * 5, pbc=False)
    atoms.cell = None
    atoms.calc = calculator()
    atoms.get_potential_energy()
    for name in ("a.traj", "a.extxyz", "a.db"):
        write(tmp_path / name, atoms)
        again = read(tmp_path / name)
        same(again, atoms, atol=1e-8, properties=("energy", "forces"))
        with pytest.raises(PropertyNotImplementedError):
            again.get_stress()


def test_export_of_properties(atoms):
    atoms.get_stresses()
    exported = atoms.calc.export_properties()
    assert exported["energy"] == atoms.get_potential_energy()
    assert type(exported["energy"]) is float
    assert set(exported) >= set(atoms.calc.implemented_properties)
