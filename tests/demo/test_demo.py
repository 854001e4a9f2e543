"""The demonstration from end to end, with a tenth of the steps; its numbers and the commands that it prints."""

import re
import shlex
import sys
from contextlib import chdir
from pathlib import Path

import pytest
from ase.build import molecule
from ase.io import read
from matplotlib.image import imread

from ase_deeppot import DeepPotCalculator
from ase_deeppot.cli import main
from ase_deeppot.demo import run_demo
from ase_deeppot.errors import ConfigError
from ase_deeppot.fitting.plots import PlotError
from ase_deeppot.resources import find

PICTURES = ("water_rdf.png", "water_nve.png", "alcohols/learning_curve.png", "alcohols/parity.png")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Folder of a finished demonstration and what it printed; a warning would have stopped it."""
    folder = tmp_path_factory.mktemp("demo") / "out put"
    with chdir(folder.parent):
        run_demo(folder, quick=True)
    return folder, (folder / "demo.log").read_text()


def number(pattern, text):
    return float(re.search(pattern, text)[1])


@pytest.mark.slow
def test_all_files_that_it_names_are_there(demo):
    folder, log = demo
    listed = log.split("== What to look at")[1].split("== How to go on")[0]
    named = re.findall(r"[\w/]+\.(?:png|traj|pth|log)\b", listed)
    assert {*PICTURES, "alcohols/model.pth", "demo.log"} < set(named)
    assert [name for name in named if not (folder / name).stat().st_size] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_not_blank(demo, name):
    assert imread(demo[0] / name).std() > 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("name", "frames"), [("water_nvt.traj", 31), ("water_nve.traj", 11)])
def test_trajectories_hold_the_box_with_energies_and_forces(demo, name, frames):
    trajectory = read(demo[0] / name, ":")
    assert len(trajectory) == frames
    assert str(trajectory[-1].symbols.formula.reduce()[0]) in {"H2O", "OH2"}
    assert trajectory[-1].get_forces().shape == (192, 3)
    assert trajectory[-1].get_potential_energy() == pytest.approx(trajectory[0].get_potential_energy(), abs=15.0)


@pytest.mark.slow
def test_molecule_is_relaxed_to_that_of_liquid_water(demo):
    first, second, angle = map(float, re.search(r"relaxed +([\d.]+) +([\d.]+) +([\d.]+)", demo[1]).groups())
    assert 0.94 < first < 1.06
    assert 0.94 < second < 1.06
    assert 98 < angle < 112
    assert "largest force below" in demo[1]


@pytest.mark.slow
def test_dynamics_is_at_its_temperature_and_keeps_its_energy(demo):
    assert number(r"mean temperature (\d+)", demo[1]) == pytest.approx(300, abs=40)
    assert number(r"rms fluctuation ([\d.]+) meV/atom", demo[1]) < 0.5


@pytest.mark.slow
def test_first_peaks_are_near_those_of_dft(demo):
    for pair in ("O-O", "O-H", "H-H"):
        height, r, height_dft, r_dft = map(float, re.search(
            rf"{pair}  ([\d.]+) at ([\d.]+) A   DFT ([\d.]+) at ([\d.]+) A", demo[1]).groups())
        assert r == pytest.approx(r_dft, abs=0.2), pair
        assert height == pytest.approx(height_dft, rel=0.35), pair


@pytest.mark.slow
def test_trained_model_is_a_calculator(demo):
    ethanol = molecule("CH3CH2OH")
    ethanol.calc = DeepPotCalculator(demo[0] / "alcohols" / "model.pth")
    assert ethanol.get_forces().shape == (9, 3)


@pytest.mark.slow
def test_printed_commands_work(demo, monkeypatch):
    monkeypatch.chdir(demo[0].parent)
    lines = demo[1].split("== How to go on ==")[1].strip().splitlines()
    commands = [shlex.split(line)[1:] for line in lines if Path(shlex.split(line)[0]).name == "deeppot"]
    assert [command[0] for command in commands] == ["info", "evaluate", "train"]
    assert [main(command) for command in commands[:2]] == [0, 0]
    assert Path("parity.png").exists()
    assert Path(commands[2][1]).is_file()
    assert Path(shlex.split(lines[-1])[1]).is_file()


def test_example_script_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = find("examples/water_md.py").read_text().replace("run(400)", "run(20)")
    exec(compile(code, "water_md.py", "exec"), {})
    assert len(read("water_md.traj", ":")) == 2
    assert len(capsys.readouterr().out.splitlines()) == 3  # header, start, step 20


def test_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("\\end{document}")
    with pytest.raises(ConfigError, match="expected an empty folder or that of an earlier demo"):
        run_demo(tmp_path, quick=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_without_matplotlib_nothing_is_begun(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(PlotError, match="pip install"):
        run_demo(tmp_path / "out", quick=True)
    assert not (tmp_path / "out").exists()
