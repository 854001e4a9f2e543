"""On a GPU, where there is one: the numbers of the CPU."""

import copy

import numpy as np
import pytest
import torch
from builders import random_atoms

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-4)])
def test_same_numbers_as_on_the_cpu(calculator, dtype, tolerance):
    atoms = random_atoms(20)
    forces = {}
    for device in ("cpu", "cuda"):
        atoms.calc = calculator(device=device, dtype=dtype)
        forces[device] = atoms.get_forces(), atoms.get_stress()
    for got, expected in zip(forces["cuda"], forces["cpu"], strict=True):
        np.testing.assert_allclose(got, expected, atol=tolerance)


def test_copies_and_changes_of_the_device(calculator):
    atoms = random_atoms(6)
    atoms.calc = calculator(device="cuda")
    before = atoms.get_forces()
    other = copy.deepcopy(atoms)
    other.calc.reset()
    np.testing.assert_allclose(other.get_forces(), before, atol=1e-10)
    other.calc.set(device="cpu")
    np.testing.assert_allclose(other.get_forces(), before, atol=1e-10)
