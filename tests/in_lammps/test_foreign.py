"""A DeePMD-kit model in LAMMPS, as the file is."""

import numpy as np
import oracles
import pytest
from builders import random_model
from interop import deepmd_files as files
from lammps_systems import COMPUTES, PRINT_FRAME, read_frame, write_water

from ase_deeppot import DeepPotCalculator

INPUT = """
units metal
atom_style atomic
read_data water.data
pair_style deeppot
pair_coeff * * O H
""" + COMPUTES + """
variable frame string rest
""" + PRINT_FRAME


def write_foreign(folder, frame_parameters=0, **options):
    write_water(folder)
    (folder / "in.lammps").write_text(INPUT)
    p = oracles.parameters_of(random_model(l_max=1, sel=(30, 31), rcut=3.0, **options))
    p = files.with_parameters(p._replace(mean=np.zeros_like(p.mean), scale=1.0), frame_parameters, 0)
    tree = files.parameter_tree(p, frame_parameters)
    tree["@variables"]["min_nbor_dist"] = np.array(0.9)
    (folder / "theirs.dp").write_bytes(files.dp(tree))


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_numbers_of_the_calculator(activation, mpirun, tmp_path):
    write_foreign(tmp_path, activation=activation)
    mpirun(2, "-m", "ase_deeppot.cli", "lammps", "in.lammps", "--model", "theirs.dp", cwd=tmp_path)
    frame = read_frame(tmp_path, "rest")
    frame.atoms.calc = DeepPotCalculator(tmp_path / "theirs.dp")
    np.testing.assert_allclose(frame.forces, frame.atoms.get_forces(), rtol=0, atol=1e-10)
    np.testing.assert_allclose(frame.energies, frame.atoms.get_potential_energies(), rtol=1e-12)
    np.testing.assert_allclose(frame.virial, -frame.atoms.get_volume() * frame.atoms.get_stress(), rtol=0, atol=1e-8)


def test_parameters_are_refused(mpirun, tmp_path):
    write_foreign(tmp_path, frame_parameters=1)
    errors = mpirun(2, "-m", "ase_deeppot.cli", "lammps", "in.lammps", "--model", "theirs.dp", cwd=tmp_path,
                    status=2).stderr
    assert "a model that takes parameters beside the structure (1 fparam) cannot be used in LAMMPS" in errors
    assert "Traceback" not in errors
