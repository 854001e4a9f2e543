"""``deeppot train``, ``learning-curve`` and ``schema``."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from runs import deeppot, error_of

from ase_deeppot import fitting
from ase_deeppot.config import parse
from ase_deeppot.fitting import FittingConfig, learning_curve
from ase_deeppot.potential.archive import read_card


def test_train(folder, capsys):
    status, out, _ = deeppot(capsys, "train", "input.toml")
    assert status == 0
    assert out == (folder / "out" / "train.log").read_text()
    lines = out[out.index(learning_curve.HEADER) :].splitlines()
    rows = [line for line in lines[2:] if "compiling the loops" not in line]  # the first time in an installation
    assert [line.split()[0] for line in rows[:2]] == ["20", "25"]
    best = read_card(folder / "out" / "model.pth").training["steps"]
    assert lines[-1] == f"wrote out/model.pth, the best model, of step {best}"
    assert {"model.pth", "checkpoint.pt", "lcurve.csv", "train.log", "cache"} == {
        path.name for path in (folder / "out").iterdir()} - ({"last.pth"} if best < 25 else set())
    assert error_of(capsys, "train", "input.toml").startswith("out/checkpoint.pt is there already: restart to go on")


def test_train_elsewhere_and_quietly(folder, capsys, monkeypatch):
    (folder / "frames").mkdir()
    images = [Atoms("H2", [[0, 0, 0], [0.7 + 0.1 * k, 0, 0]]) for k in range(4)]
    for k, atoms in enumerate(images):
        atoms.calc = SinglePointCalculator(atoms, energy=-30.0 - k, forces=np.zeros((2, 3)))
    write(folder / "frames" / "h2.extxyz", images)
    (folder / "frames" / "input.toml").write_text(
        '[data]\ntrain = ["h2.extxyz"]\n[training]\nsteps = 2\n'
        "[model]\ndescriptor = { neuron = [2], axis_neuron = 1 }\nfitting_net.neuron = [2]\n")
    status, out, err = deeppot(capsys, "train", "frames/input.toml", "--output", "there", "--quiet")
    assert (status, out, err) == (0, "", "")
    assert (folder / "there" / "model.pth").exists()
    assert not (folder / "deeppot-fit").exists()


def test_seed_on_the_command_line(copper, capsys, tmp_path, monkeypatch, small_defaults):
    monkeypatch.chdir(tmp_path)
    assert deeppot(capsys, "train", "copper.traj", "--output", "seed7", "--quiet", "--seed", "7")[0] == 0
    assert read_card(tmp_path / "seed7" / "model.pth").training["settings"]["training"]["seed"] == 7


@pytest.mark.parametrize(("text", "message"), [
    ("[training]\nstep = 3", "input.toml: unknown option 'step' in [training]; did you mean 'steps'?"),
    ("[training", "input.toml: expected TOML, got "),
    ("[data]\ntrain = 'a.xyz'", "input.toml: expected a list for 'data.train', got 'a.xyz'"),
    ("[data]\ntrain = ['none.xyz']", "none.xyz: expected a file, got no such file: "),
    ("[data]\ntrain = ['*.none']", "*.none: expected files that match, got none in "),
    ("[data]\ntrain = ['copper.traj@7:']", "copper.traj@7:: expected at least one frame, got none"),
    ("[data]\ntrain = ['bare.traj']", 'bare.traj: expected labels under "energy", "forces", "stress", got none'),
    ("[data]\ntrain = ['copper.traj']\n[model]\ntype_map = ['H']",
     "copper.traj frame "),
    ("output = 'input.toml'\n[data]\ntrain = ['copper.traj']", "cannot make the output folder input.toml: File exists"),
    ("", "expected data.train to name at least one source, got none"),
])
def test_input_that_cannot_be_used(copper, capsys, tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    write("bare.traj", bulk("Cu"))
    Path("input.toml").write_text(text)
    assert error_of(capsys, "train", "input.toml").startswith(message)


def test_files_that_are_not_there(folder, capsys):
    assert error_of(capsys, "train", "none.toml") == "cannot read none.toml: No such file or directory"
    assert error_of(capsys, "train", "input.toml", "--restart") == "cannot restart: no out/checkpoint.pt"
    assert error_of(capsys, "info", "none.pth") == "cannot read model none.pth: No such file or directory"
    assert error_of(capsys, "freeze", "none.pt") == "cannot read checkpoint none.pt: No such file or directory"
    assert error_of(capsys, "evaluate", "none.pth", "x").startswith("cannot read model none.pth: ")
    assert list(folder.iterdir()) == [folder / "input.toml"]


def test_a_corrupt_checkpoint(folder, capsys):
    (folder / "out").mkdir()
    (folder / "out" / "checkpoint.pt").write_bytes(b"PK\x03\x04 and so on")
    message = "out/checkpoint.pt: expected a checkpoint, got a truncated or foreign file"
    assert error_of(capsys, "train", "input.toml", "--restart") == message
    assert error_of(capsys, "freeze", "out/checkpoint.pt") == message

SMALL = {"neuron": (3, 6), "axis_neuron": 2}


@pytest.fixture
def small_defaults(monkeypatch):
    """Defaults that are done in a moment."""
    small = parse(FittingConfig, {"model": {"rcut": 4.0, "descriptor": SMALL, "fitting_net": {"neuron": [6]}},
                                  "training": {"steps": 6}, "monitor": {"plot": False, "report": False}})
    monkeypatch.setattr(fitting, "FittingConfig", lambda: small)


def test_train_from_data_alone(copper, capsys, tmp_path, monkeypatch, small_defaults):
    monkeypatch.chdir(tmp_path)
    status, out, _ = deeppot(capsys, "train", "copper.traj@:2", "copper.traj@2", "--output", "here")
    assert status == 0
    assert read_card("here/model.pth").type_map == ("Cu",)
    assert "1 of them set aside for validation" in out
    status, out, _ = deeppot(capsys, "train", "copper.traj@:2", "--validation", "copper.traj@2")
    assert status == 0
    assert Path("deeppot-fit/model.pth").exists()
    assert "validation, 1 frames" in out


def test_dry_run_writes_nothing(copper, capsys, tmp_path, monkeypatch, small_defaults):
    monkeypatch.chdir(tmp_path)
    status, out, _ = deeppot(capsys, "train", "copper.traj", "--dry-run", "--output", "never")
    assert status == 0
    assert "species" in out
    assert out.endswith("nothing was trained or written\n")
    assert [path.name for path in tmp_path.iterdir()] == ["copper.traj"]


def test_keys_for_data_alone(copper, capsys, tmp_path, monkeypatch, small_defaults):
    monkeypatch.chdir(tmp_path)
    for atoms in copper:
        atoms.info["E"] = atoms.calc.results.pop("energy")
    write("renamed.traj", copper)
    status, out, _ = deeppot(capsys, "train", "renamed.traj", "--dry-run", "--key", "energy=E")
    assert status == 0
    assert "energies        none" not in out


def test_an_input_beside_data(folder, capsys):
    message = error_of(capsys, "train", "input.toml", "frames.xyz")
    assert message == "expected one training input or data, got 2 files with input.toml among them"


def test_starting_from_a_model(copper, copper_file, capsys, tmp_path, monkeypatch, small_defaults):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fitting, "FittingConfig", lambda: parse(FittingConfig, {
        "training": {"steps": 3}, "monitor": {"plot": False, "report": False}}))
    status, out, _ = deeppot(capsys, "train", "copper.traj", "--init-model", copper_file)
    assert status == 0
    assert f"starting from {copper_file}, a model for Cu; energy bias changed by Cu " in out


def test_schema(capsys):
    import tomllib
    status, out, _ = deeppot(capsys, "schema")
    assert status == 0
    assert parse(FittingConfig, tomllib.loads(out)) == FittingConfig()
    status, out, _ = deeppot(capsys, "schema", "--markdown")
    assert "| `steps` | `20000` | whole number > 0 | steps in all |" in out


def test_learning_curve(folder, capsys):
    status, out, err = deeppot(capsys, "learning-curve", "input.toml", "--sizes", "4", "8", "--quiet")
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == ["frames", "4", "8", "wrote"]
    assert (folder / "out" / "size-000008" / "model.pth").exists()
    message = error_of(capsys, "learning-curve", "input.toml", "--sizes", "100000", "--quiet")
    assert message.startswith("expected sizes from 1 to the ")
