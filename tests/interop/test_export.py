"""Models for DeePMD-kit: the numbers of the tree, the way back, and DeePMD-kit itself where it is installed."""

import os
import subprocess

import numpy as np
import oracles
import pytest
from builders import assert_same_weights, predict, random_atoms, random_model, types_in

from ase_deeppot.errors import ModelFileError
from ase_deeppot.files import write_atomically
from ase_deeppot.interop import load_model
from ase_deeppot.interop.deepmd_tree import read_hdf5
from ase_deeppot.interop.export import export, to_dp
from ase_deeppot.interop.into_model import to_model
from interop.test_load import assert_agrees

OPTIONS = [{}, {"type_one_side": False, "resnet_dt": True, "activation": "gelu"}, {"exclude_types": (("H", "O"),)},
           {"fitting_neuron": ()}, {"fitting_activation": "relu"}, {"precision": "float32"}]


@pytest.mark.parametrize("options", OPTIONS)
def test_the_tree_is_the_model(options):
    model = random_model(l_max=1, sel=(40, 41), **options)
    tolerance = {"rtol": 0, "atol": 1e-8} if options.get("precision") != "float32" else {"rtol": 0, "atol": 2e-4}
    again, atoms = to_model(read_hdf5(to_dp(model), None)), random_atoms(6, seed=1)
    for got, expected in zip(predict(again, atoms, compiled=False)[:3], predict(model, atoms, compiled=False)[:3],
                             strict=True):
        np.testing.assert_allclose(got, expected, **tolerance)


def test_the_tree_holds_the_nets_themselves():
    model = random_model(l_max=1, sel=(40, 41), order=8)  # whose series is far from its net
    assert_agrees(to_model(read_hdf5(to_dp(model), None)), oracles.parameters_of(model))


def test_there_and_back_is_the_same_to_the_digit(tmp_path):
    model = random_model(l_max=1, sel=(40, 41), order=24, smallest_distance={"H-O": 0.9})
    error = export(model, tmp_path / "model.dp")
    back = load_model(tmp_path / "model.dp")
    assert_same_weights(back.module, model.module)
    assert back.card.config == model.card.config
    assert back.card.domain == model.card.domain
    assert error == pytest.approx(back.card.series["error"])


def test_what_has_no_equal_there_is_refused(tmp_path):
    with pytest.raises(ModelFileError, match="whole numbers of slots"):
        export(random_model(l_max=1, sel=(40.5, 41)), tmp_path / "model.dp")
    with pytest.raises(ModelFileError, match="'radial' cannot be exported"):
        export(random_model(l_max=1, sel=(40, 41), kind="radial"), tmp_path / "model.dp")
    with pytest.raises(ModelFileError, match="keeps or doubles the width of the descriptor, 24"):
        export(random_model(l_max=1, sel=(40, 41), fitting_neuron=(24, 24)), tmp_path / "model.dp")
    assert list(tmp_path.iterdir()) == []


SCRIPT = """
import sys
import numpy as np
from deepmd.infer import DeepPot
given = np.load(sys.argv[2])
potential = DeepPot(sys.argv[1])
energy, forces, virial, atomic, _ = potential.eval(given["positions"][None], given["cell"].reshape(1, 9),
                                                   given["types"].tolist(), atomic=True)
np.savez(sys.argv[3], energies=atomic.reshape(-1), forces=forces[0], virial=virial.reshape(3, 3))
"""


@pytest.mark.skipif("DEEPMD_PYTHON" not in os.environ,
                    reason="needs DEEPMD_PYTHON, the interpreter of an environment with DeePMD-kit")
@pytest.mark.parametrize("options", OPTIONS[:3])
def test_deepmd_kit_gives_our_numbers(options, tmp_path):
    model, atoms = random_model(l_max=1, sel=(40, 41), **options), random_atoms(8, seed=1)
    export(model, tmp_path / "model.dp")
    given, answer, python = tmp_path / "given.npz", tmp_path / "answer.npz", os.environ["DEEPMD_PYTHON"]
    np.savez(given, positions=atoms.positions, cell=atoms.cell[:], types=types_in(model, atoms))
    write_atomically(tmp_path / "script.py", SCRIPT.encode())
    convert = [python, "-m", "deepmd", "convert-backend", "model.dp", "model.pth"]
    for command in (convert, [python, "script.py", "model.pth", given, answer]):
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    theirs, ours = np.load(answer), predict(model, atoms, compiled=False)
    np.testing.assert_allclose(theirs["energies"], ours.energies, rtol=0, atol=1e-8)
    np.testing.assert_allclose(theirs["forces"], ours.forces, rtol=0, atol=1e-8)
    np.testing.assert_allclose(theirs["virial"], ours.virials.sum(0), rtol=0, atol=1e-8)
    assert_agrees(load_model(tmp_path / "model.pth"), oracles.parameters_of(model))
