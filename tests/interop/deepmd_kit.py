"""DeePMD-kit itself, in environments of its own that the tests are told of."""

import os
import subprocess
from typing import NamedTuple

import numpy as np
import pytest
from builders import predictor

from ase_deeppot.files import write_atomically

PYTHON = {"torch": "DEEPMD_PYTHON", "tensorflow": "DEEPMD_TF_PYTHON"}  # interpreters, by what is beside DeePMD-kit
WHAT = {"torch": "DeePMD-kit", "tensorflow": "DeePMD-kit and TensorFlow"}
SCRIPT = """
import sys
import numpy as np
from deepmd.infer import DeepPot
given = np.load("given.npz")
extra = {name: given[name][None] for name in ("fparam", "aparam") if given[name].size}
energy, forces, virial, atomic, _ = DeepPot(sys.argv[1]).eval(
    given["positions"][None], given["cell"].reshape(1, 9), given["types"].tolist(), atomic=True, **extra)
np.savez("answer.npz", energies=atomic.reshape(-1), forces=forces[0], virial=virial.reshape(3, 3))
"""


class Answer(NamedTuple):
    """What DeePMD-kit gives for a structure."""

    energies: np.ndarray  # [N], eV
    forces: np.ndarray  # [N, 3], eV/A
    virial: np.ndarray  # [3, 3], eV


def needs(backend):
    """Mark of tests that run DeePMD-kit."""
    return pytest.mark.skipif(PYTHON[backend] not in os.environ,
                              reason=f"needs {PYTHON[backend]}, an interpreter that has {WHAT[backend]}")


def run(backend, folder, *arguments):
    """``python arguments`` where DeePMD-kit is."""
    result = subprocess.run([os.environ[PYTHON[backend]], *map(str, arguments)], cwd=folder, capture_output=True,
                            text=True)
    assert result.returncode == 0, result.stdout[-1000:] + result.stderr[-3000:]
    return result


def convert(backend, folder, given, made):
    """``dp convert-backend``."""
    run(backend, folder, "-m", "deepmd", "convert-backend", given, made)


def answer(backend, folder, name, types, atoms, parameters=None, frame=0):
    """What DeePMD-kit gives with a file; of the parameters [N, k] so many are of the frame."""
    parameters = np.zeros((len(atoms), 0)) if parameters is None else parameters
    np.savez(folder / "given.npz", positions=atoms.positions, cell=atoms.cell[:], types=types,
             fparam=parameters[0, :frame], aparam=parameters[:, frame:].reshape(-1))
    write_atomically(folder / "script.py", SCRIPT.encode())
    run(backend, folder, "script.py", name)
    with np.load(folder / "answer.npz") as saved:
        return Answer(*(saved[name] for name in Answer._fields))


def assert_same(model, atoms, theirs, parameters=None, energy=1e-9):
    """Our numbers and theirs."""
    ours = predictor(model, compiled=False)(atoms, parameters)
    np.testing.assert_allclose(ours.energies, theirs.energies, rtol=0, atol=energy)
    np.testing.assert_allclose(ours.forces, theirs.forces, rtol=0, atol=1e-8)
    np.testing.assert_allclose(ours.virials.sum(0), theirs.virial, rtol=0, atol=1e-8)
