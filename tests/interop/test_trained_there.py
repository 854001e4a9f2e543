"""Files that DeePMD-kit itself writes while it trains, freezes and converts, where it is installed."""

import json

import numpy as np
import pytest
from builders import random_atoms, types_in

from ase_deeppot.interop import load_model
from interop.deepmd_kit import answer, assert_same, needs, run

pytestmark = needs("torch")
DESCRIPTOR = {"sel": [40, 41], "rcut": 4.0, "rcut_smth": 1.0, "neuron": [4, 8], "seed": 1}
MODELS = {
    "plain": {"descriptor": {"type": "se_e2_a", "axis_neuron": 3, "type_one_side": True} | DESCRIPTOR},
    "radial": {"descriptor": {"type": "se_e2_r"} | DESCRIPTOR},
    "hybrid": {"descriptor": {"type": "hybrid", "list": [
        {"type": "se_e2_a", "axis_neuron": 3} | DESCRIPTOR,
        {"type": "se_e2_r"} | DESCRIPTOR | {"rcut": 3.0, "neuron": [5, 10], "sel": [30, 20]},
        {"type": "se_e2_a", "axis_neuron": 2, "type_one_side": True, "exclude_types": [[0, 1]], "set_davg_zero": True}
        | DESCRIPTOR | {"rcut": 3.5, "rcut_smth": 0.5}]}},
    "kinks": {"descriptor": {"type": "se_e2_a", "axis_neuron": 3, "activation_function": "relu"} | DESCRIPTOR},
    "parameters": {"descriptor": {"type": "se_e2_a", "axis_neuron": 3} | DESCRIPTOR,
                   "fitting_net": {"numb_fparam": 2, "numb_aparam": 1}},
}


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
    parameters, frame = None, 0
    if "fitting_net" in model:
        frame, parameters = 2, np.column_stack([np.tile(rng.uniform(300, 400, 2), (8, 1)), rng.uniform(-1, 1, 8)])
    for command in (["--pt", "train", "input.json"], ["--pt", "freeze", "-o", "frozen.pth"],
                    ["convert-backend", "frozen.pth", "frozen.dp"],
                    ["--pt", "compress", "-i", "frozen.pth", "-o", "compressed.pth"]):
        run("torch", folder, "-m", "deepmd", *command)
    return folder, atoms, parameters, answer("torch", folder, "frozen.pth", types, atoms, parameters, frame)


@pytest.mark.parametrize("name", ["model.ckpt-2.pt", "frozen.pth", "frozen.dp", "compressed.pth"])
def test_what_it_writes_is_read(trained, name):
    folder, atoms, parameters, theirs = trained
    model = load_model(folder / name)
    assert types_in(model, atoms).tolist() == [{"H": 0, "O": 1}[symbol] for symbol in atoms.symbols]
    assert_same(model, atoms, theirs, parameters)
