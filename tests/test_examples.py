"""The scripts in examples/ run, with less training than they are meant to have."""

import importlib
import re
import sys

import pytest
from ase.build import molecule
from matplotlib.image import imread

from ase_deeppot.potential.archive import read_card
from ase_deeppot.resources import find


@pytest.fixture
def example(monkeypatch, tmp_path):
    """Function: a script, imported anew, in an empty folder, with some of its values changed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(find("examples/water_md.py").parent)

    def make(name, **values):
        for script in ("local_frame_jumps", "local_frame_drift"):
            monkeypatch.delitem(sys.modules, script, raising=False)
        importlib.import_module("local_frame_jumps").TRAINING = 20
        module = importlib.import_module(name)
        vars(module).update(values)
        return module

    return make


@pytest.mark.slow
def test_jumps_of_local_frames(example, tmp_path, capsys):
    jumps = example("local_frame_jumps")
    jumps.ANGLES = jumps.ANGLES[::4]
    jumps.main()
    lines = [line for line in capsys.readouterr().out.splitlines() if "largest step" in line]
    local, smooth = (float(line.split("energy ")[1].split()[0]) for line in lines)
    assert local > 2 * smooth
    assert imread(tmp_path / "local_frame_jumps.png").std() > 0.05


@pytest.mark.slow
def test_drift_of_both_models(example, tmp_path, capsys):
    example("local_frame_drift", STEPS=30).main()
    lines = [line for line in capsys.readouterr().out.splitlines() if "meV/atom/ps" in line]
    assert [line.split(":")[0] for line in lines] == ["DPMD", "DeepPot-SE"]
    assert "broke" not in "".join(lines)
    assert imread(tmp_path / "local_frame_drift.png").std() > 0.05


def test_drift_ends_where_a_bond_breaks(example, model_file, tmp_path):
    """Water, whose bonds are called broken at a length that they soon have; the model is a random one."""
    module = example("local_frame_drift", STEPS=200, LONGEST=1.1)
    record = module.free(molecule("H2O"), model_file())
    assert 2 < len(record.time) < 200
    assert "when a bond broke" in module.report("DPMD", record)
    module.draw({"DPMD": record}, tmp_path / "picture.png")
    assert imread(tmp_path / "picture.png").std() > 0.05


@pytest.mark.slow
def test_learning_on_the_fly(example, tmp_path, capsys):
    """Untrained models disagree about all that they see, and each round has the frames that the last one added."""
    module = example("learning_on_the_fly", MODELS=2, TRAINING=5, DYNAMICS=30, LOW=0.0, HIGH=1e3, MOST=2,
                     TEMPERATURES=(300.0, 600.0))
    module.main()
    lines = capsys.readouterr().out.splitlines()
    assert [re.search(r"(\d+) frames; (\d+) K for 60 fs.* (\d+) structures", line).groups() for line in lines] == [
        ("10", "300", "2"), ("12", "600", "2")]
    for number, trained in ((1, 9), (2, 11)):  # one of the frames is for validation
        for seed in (1, 2):
            card = read_card(tmp_path / f"learning/round{number}/seed{seed}/model.pth")
            assert card.domain.frames == trained
