"""The commands of docs/scaling.md work as printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ase.io import read

from ase_deeppot import DeepPotCalculator

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = re.findall(r"^```bash\n(.*?)^```", (ROOT / "docs" / "scaling.md").read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.slow
def test_commands_of_the_page(mpirun, tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    here = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    for block in COMMANDS:
        result = subprocess.run(["bash", "-e"], input=block, cwd=tmp_path, env=here, capture_output=True, text=True,
                                timeout=300)
        assert result.returncode == 0, result.stdout[-1000:] + result.stderr
    assert len(COMMANDS) == 2
    steps = re.findall(r"^ +(\d+) +([\d.]+) +(-[\d.]+)", (tmp_path / "log.lammps").read_text(), re.MULTILINE)
    assert [int(step) for step, _, _ in steps] == list(range(0, 201, 20))
    atoms = read(ROOT / "examples" / "data" / "water_box.extxyz")
    atoms.calc = DeepPotCalculator("water")
    assert float(steps[0][2]) == pytest.approx(atoms.get_potential_energy(), abs=0.1)
    assert "1536 atoms" in (tmp_path / "water.log").read_text()
    assert (tmp_path / "water.dump").read_text().count("TIMESTEP") > 0

