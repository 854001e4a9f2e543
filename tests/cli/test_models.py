"""``deeppot info``, ``freeze`` and ``change-bias``."""

import json
import re

import numpy as np
import pytest
import torch
from ase.io import write
from runs import WHOLE, deeppot, error_of, table

from ase_deeppot import DeepPotCalculator
from ase_deeppot.fitting.checkpoint import load_checkpoint
from ase_deeppot.potential.archive import load_model, read_card
from ase_deeppot.version import __version__


def test_info(whole, capsys):
    status, out, err = deeppot(capsys, "info", whole / "out" / "model.pth")
    assert (status, err) == (0, "")
    for text in ("elements        H, C, O\n", "rcut 4 A", "float32", "330 frames of 3 to 12 atoms", " of 16 terms, ",
                 f"ase-deeppot {__version__}"):
        assert text in out
    assert re.search(r"validation RMSE energy \S+ meV/atom, forces \S+ meV/A$", out, re.MULTILINE)
    status, out, _ = deeppot(capsys, "info", "--json", whole / "out" / "model.pth")
    card = read_card(whole / "out" / "model.pth")
    record = json.loads(out)
    assert record["config"]["type_map"] == list(card.type_map)
    assert record["config"]["descriptor"]["neuron"] == [3, 6]
    assert record["training"] == json.loads(json.dumps(card.training))
    assert record["domain"]["frames"] == 330
    assert record["series"] == card.series
    assert record["series"]["order"] == 16


def test_freeze(whole, tmp_path, capsys):
    checkpoint = load_checkpoint(whole / "out" / "checkpoint.pt")
    status, out, err = deeppot(capsys, "freeze", whole / "out" / "checkpoint.pt", "-o", tmp_path / "frozen.pth")
    assert (status, err) == (0, "")
    assert out == f"wrote {tmp_path}/frozen.pth, the model after {WHOLE} of {WHOLE} steps\n"
    frozen = load_model(tmp_path / "frozen.pth")
    assert all(torch.equal(value, checkpoint.weights[key]) for key, value in frozen.module.state_dict().items())
    assert frozen.card.training["steps"] == WHOLE
    assert deeppot(capsys, "freeze", whole / "out" / "checkpoint.pt", "--best", "-o", tmp_path / "best.pth")[0] == 0
    best = load_model(tmp_path / "best.pth").module.state_dict()
    assert all(torch.equal(value, checkpoint.best.weights[key]) for key, value in best.items())


def test_freeze_writes_beside_the_checkpoint(whole, tmp_path, capsys):
    (tmp_path / "checkpoint.pt").write_bytes((whole / "out" / "checkpoint.pt").read_bytes())
    assert deeppot(capsys, "freeze", tmp_path / "checkpoint.pt")[0] == 0
    assert (tmp_path / "model.pth").exists()


def test_change_bias(copper, copper_file, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for atoms in copper:
        atoms.calc.results["energy"] += 500.0 * len(atoms)
    write("shifted.traj", copper)
    status, out, _ = deeppot(capsys, "change-bias", copper_file, "shifted.traj", "-o", "new.pth")
    assert status == 0
    assert out.endswith("wrote new.pth\n")
    shift = float(out.split("Cu ")[1].split()[0])
    for atoms in copper[:1]:
        old, new = atoms.copy(), atoms.copy()
        old.calc, new.calc = DeepPotCalculator(copper_file), DeepPotCalculator("new.pth")
        assert new.get_potential_energy() - old.get_potential_energy() == pytest.approx(shift * len(atoms), rel=1e-5)
        np.testing.assert_allclose(new.get_forces(), old.get_forces(), atol=1e-12)
    record = read_card("new.pth").training["bias_changed"]
    assert list(record["sources_sha256"]) == ["shifted.traj"]
    status, out, _ = deeppot(capsys, "evaluate", "new.pth", "shifted.traj")
    assert float(table(out)["energy"][1]) < 1e5


@pytest.mark.parametrize(("path", "reason"), [("no/p.png", "no such folder no"), (".", "it is a folder")])
def test_results_that_cannot_be_written(whole, copper_file, capsys, tmp_path, monkeypatch, path, reason):
    monkeypatch.chdir(tmp_path)
    assert error_of(capsys, "evaluate", copper_file, "x.traj", "--plot", path) == f"cannot write {path}: {reason}"
    assert error_of(capsys, "freeze", whole / "out" / "checkpoint.pt", "-o", path) == f"cannot write {path}: {reason}"
