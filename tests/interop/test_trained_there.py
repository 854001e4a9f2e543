"""Files that DeePMD-kit itself writes while it trains, freezes and converts, where it is installed."""

import json
import os
import subprocess

import numpy as np
import pytest
from builders import predictor, random_atoms, types_in

from ase_deeppot.files import write_atomically
from ase_deeppot.interop import load_model

pytestmark = pytest.mark.skipif("DEEPMD_PYTHON" not in os.environ,
                                reason="needs DEEPMD_PYTHON, the interpreter of an environment with DeePMD-kit")
DESCRIPTOR = {"sel": [40, 41], "rcut": 4.0, "rcut_smth": 1.0, "neuron": [4, 8], "seed": 1}
MODELS = {
    "plain": {"descriptor": {"type": "se_e2_a", "axis_neuron": 3, "type_one_side": True} | DESCRIPTOR},
    "radial": {"descriptor": {"type": "se_e2_r"} | DESCRIPTOR},
    "parameters": {"descriptor": {"type": "se_e2_a", "axis_neuron": 3} | DESCRIPTOR,
                   "fitting_net": {"numb_fparam": 2, "numb_aparam": 1}},
}
SCRIPT = """
import numpy as np
from deepmd.infer import DeepPot
given = np.load("given.npz")
extra = {name: given[name] for name in ("fparam", "aparam")} if "fparam" in given else {}
energy, forces, virial, atomic, _ = DeepPot("frozen.pth").eval(
    given["positions"][None], given["cell"].reshape(1, 9), given["types"].tolist(), atomic=True, **extra)
np.savez("answer.npz", energies=atomic.reshape(-1), forces=forces[0], virial=virial.reshape(3, 3))
"""


@pytest.fixture(scope="module", params=MODELS)
def trained(request, tmp_path_factory):
    """Folder, structure and parameters of a model after two steps, with what DeePMD-kit answers for it."""
    folder, atoms, rng = tmp_path_factory.mktemp(request.param), random_atoms(8, seed=1), np.random.default_rng(2)
    types = np.array([{"H": 0, "O": 1}[symbol] for symbol in atoms.symbols])
    system = folder / "system" / "set.000"
    system.mkdir(parents=True)
    np.savetxt(folder / "system" / "type.raw", types, fmt="%d")
    positions = atoms.positions + rng.normal(scale=0.05, size=(3, 8, 3))
    labels = {"coord": positions.reshape(3, -1), "box": np.tile(atoms.cell[:].reshape(-1), (3, 1)),
              "energy": rng.normal(size=3), "force": rng.normal(size=(3, 24)), "fparam": rng.uniform(300, 400, (3, 2)),
              "aparam": rng.uniform(-1, 1, (3, 8))}
    for name, values in labels.items():
        np.save(system / f"{name}.npy", values)
    model = MODELS[request.param]
    net = {"neuron": [12, 12], "seed": 1, **model.get("fitting_net", {})}
    (folder / "input.json").write_text(json.dumps({
        "model": {"type_map": ["H", "O"], "descriptor": model["descriptor"], "fitting_net": net},
        "learning_rate": {"type": "exp", "start_lr": 1e-3, "stop_lr": 1e-5, "decay_steps": 10},
        "loss": {"type": "ener"},
        "training": {"training_data": {"systems": ["system"], "batch_size": 1}, "numb_steps": 2, "save_freq": 2}}))
    given = {"positions": atoms.positions, "cell": atoms.cell[:], "types": types}
    parameters = None
    if "fitting_net" in model:
        frame, atom = rng.uniform(300, 400, 2), rng.uniform(-1, 1, 8)
        parameters = np.column_stack([np.tile(frame, (8, 1)), atom])
        given |= {"fparam": frame, "aparam": atom}
    np.savez(folder / "given.npz", **given)
    write_atomically(folder / "script.py", SCRIPT.encode())
    program = [os.environ["DEEPMD_PYTHON"], "-m", "deepmd"]
    for command in ([*program, "--pt", "train", "input.json"], [*program, "--pt", "freeze", "-o", "frozen.pth"],
                    [*program, "convert-backend", "frozen.pth", "frozen.dp"], [program[0], "script.py"]):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder, atoms, parameters


@pytest.mark.parametrize("name", ["model.ckpt-2.pt", "frozen.pth", "frozen.dp"])
def test_what_it_writes_is_read(trained, name):
    folder, atoms, parameters = trained
    model, theirs = load_model(folder / name), np.load(folder / "answer.npz")
    assert list(types_in(model, atoms)) == np.load(folder / "given.npz")["types"].tolist()
    ours = predictor(model, compiled=False)(atoms, parameters)
    np.testing.assert_allclose(ours.energies, theirs["energies"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours.forces, theirs["forces"], rtol=0, atol=1e-8)
    np.testing.assert_allclose(ours.virials.sum(0), theirs["virial"], rtol=0, atol=1e-8)
