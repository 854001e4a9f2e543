"""The command line: what it prints, where, with which exit status, and that killing it costs nothing."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from ase_deeppot import DeepPotCalculator, cli, fitting
from ase_deeppot.cli import models
from ase_deeppot.config import parse
from ase_deeppot.fitting import FittingConfig, learning_curve
from ase_deeppot.fitting.checkpoint import load_checkpoint
from ase_deeppot.potential.archive import load_model, read_card
from ase_deeppot.resources import find
from ase_deeppot.version import __version__

INPUT = """
output = "out"

[model]
rcut = 4.0
precision = "float32"
descriptor = {{ neuron = [3, 6], axis_neuron = 2 }}
fitting_net = {{ neuron = [6, 6] }}

[data]
train = ["{alcohols}@split=train"]
validation = ["{alcohols}@natoms=3,split=test"]

[learning_rate]
start = 5e-3

[training]
steps = {steps}
batch_atoms = 16
validate_every = 20
checkpoint_every = 7

[monitor]
plot = false
report = false
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A current folder with input.toml, for 25 steps on the alcohols."""
    monkeypatch.chdir(tmp_path)
    return written(tmp_path, 25)


def written(folder: Path, steps: int) -> Path:
    (folder / "input.toml").write_text(INPUT.format(alcohols=find("examples/data/alcohols.db"), steps=steps))
    return folder


def deeppot(capsys, *arguments):
    """Exit status and what was printed."""
    status = cli.main([str(argument) for argument in arguments])
    return status, *capsys.readouterr()


def error_of(capsys, *arguments) -> str:
    status, _, err = deeppot(capsys, *arguments)
    assert status == 2
    assert err.startswith("deeppot: ")
    assert err.count("\n") == 1
    return err[len("deeppot: "):-1]


def emt(atoms):
    atoms.calc = EMT()
    atoms.get_stress()
    values = {key: atoms.calc.results[key] for key in ("energy", "forces", "stress")}
    atoms.calc = SinglePointCalculator(atoms, **values)
    return atoms


@pytest.fixture
def copper(tmp_path):
    rng = np.random.default_rng(0)
    images = [bulk("Cu", a=3.7, cubic=True) * (1, 1, n) for n in (1, 2, 1)]
    for atoms in images:
        atoms.rattle(0.1, rng=rng)
        emt(atoms)
    write(tmp_path / "copper.traj", images)
    return images


# The frame -------------------------------------------------------------------------------------------------------

def test_version_and_help(capsys):
    for arguments, text in ((["--version"], f"ase-deeppot {__version__}\n"), (["--help"], "COMMAND"),
                            (["train", "--help"], "--restart"), (["evaluate", "--help"], "--plot")):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        assert caught.value.code == 0
        assert text in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["trian"], ["train"], ["info", "a", "b"], ["train", "x", "--restrat"]])
def test_wrong_usage(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: deeppot" in capsys.readouterr().err


def test_as_a_program():
    program = Path(sys.executable).with_name("deeppot")
    command = [program] if program.exists() else [sys.executable, "-m", "ase_deeppot.cli"]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"ase-deeppot {__version__}\n", "")


def test_warnings_are_lines_for_users(capsys, monkeypatch):
    def warn(_):
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("cache file x is damaged", stacklevel=2)
    monkeypatch.setattr(models, "_info", warn)
    assert deeppot(capsys, "info", "x") == (0, "", "deeppot: warning: cache file x is damaged\n")


@pytest.mark.parametrize(("error", "line"), [
    (OSError(28, "No space left on device"), "deeppot: No space left on device\n"),
    (OSError(13, "Permission denied", "a/b.png"), "deeppot: a/b.png: Permission denied\n"),
    (OSError("odd"), "deeppot: odd\n"),
])
def test_system_errors_are_a_line(capsys, monkeypatch, error, line):
    def fail(_):
        raise error
    monkeypatch.setattr(models, "_info", fail)
    assert deeppot(capsys, "info", "x") == (2, "", line)


def test_an_interrupt_outside_training(capsys, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt
    monkeypatch.setattr(models, "_info", interrupt)
    assert deeppot(capsys, "info", "x") == (130, "", "deeppot: interrupted\n")


# train -------------------------------------------------------------------------------------------------------------

def test_train(folder, capsys):
    status, out, _ = deeppot(capsys, "train", "input.toml")
    assert status == 0
    assert out == (folder / "out" / "train.log").read_text()
    lines = out[out.index(learning_curve.HEADER) :].splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["20", "25"]
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


# Data instead of an input --------------------------------------------------------------------------------------------

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


# Killing and going on ------------------------------------------------------------------------------------------------

STEPS = 250


@pytest.fixture(scope="module")
def whole(tmp_path_factory, compiled_loops):
    """Folder of a run that nothing happened to."""
    folder = written(tmp_path_factory.mktemp("whole"), STEPS)
    assert cli.main(["train", str(folder / "input.toml"), "--output", str(folder / "out"), "--quiet"]) == 0
    return folder


def start(folder, *options):
    return subprocess.Popen([sys.executable, "-m", "ase_deeppot.cli", "train", "input.toml", *options], cwd=folder,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env=os.environ | {"OMP_NUM_THREADS": "1"})


def wait_for_steps(process, folder, before):
    """Wait until a checkpoint is newer than ``before``, or the run is over."""
    checkpoint = folder / "out" / "checkpoint.pt"
    while process.poll() is None and (not checkpoint.exists() or checkpoint.stat().st_mtime_ns <= before):
        time.sleep(0.005)
    return checkpoint.stat().st_mtime_ns


def assert_same_run(folder, other):
    one, two = (load_model(path / "out" / "model.pth").module.state_dict() for path in (folder, other))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)
    curves = [np.array(learning_curve.read(path / "out" / "lcurve.csv"))[:, :-1] for path in (folder, other)]
    np.testing.assert_array_equal(*curves)


def kill_after_checkpoints(folder, times, seed):
    """Kill the run again and again, each time a little after its first new checkpoint; the steps reached."""
    rng, newest, reached = np.random.default_rng(seed), 0, []
    for n in range(times):
        process = start(folder, *(["--restart"] if n else []))
        newest = wait_for_steps(process, folder, newest)
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        process.communicate()
        reached.append(load_checkpoint(folder / "out" / "checkpoint.pt").step)
    return reached


def test_a_killed_run_goes_on_with_the_same_numbers(tmp_path, whole):
    written(tmp_path, STEPS)
    reached = kill_after_checkpoints(tmp_path, times=2, seed=2)
    assert reached == sorted(reached)
    assert 0 < reached[0] < STEPS
    process = start(tmp_path, "--restart")
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert f"\ngoing on from step {reached[-1]}\n" in out
    assert_same_run(tmp_path, whole)


def finish(folder, *options):
    process = start(folder, *options)
    _, err = process.communicate()
    assert (process.returncode, err) == (0, "")


def steps_kept(folder):
    checkpoint = folder / "out" / "checkpoint.pt"
    return load_checkpoint(checkpoint).step if checkpoint.exists() else 0


def steps_shown(folder):
    """Steps done, where each of them gives a line of the learning curve."""
    curve = folder / "out" / "lcurve.csv"
    return int(learning_curve.read(curve)[-1].step) if curve.exists() else 0


def kill_at_random(folder, rng, most):
    """Kill the run while it starts, or up to so many steps later; the moment within a step is left to chance."""
    kept = steps_kept(folder)
    process = start(folder, *(["--restart"] if kept else []))
    ahead = int(rng.integers(-most // 4, most))
    if ahead < 0:
        time.sleep(rng.uniform(0, 4))
    while process.poll() is None and steps_shown(folder) < kept + ahead:
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.05))
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_ten_kills_at_random_moments_cost_a_checkpoint_interval_each_and_change_nothing(tmp_path, compiled_loops):
    folders = [tmp_path / name for name in ("whole", "killed")]
    for folder in folders:
        folder.mkdir()
        text = (written(folder, STEPS) / "input.toml").read_text()
        (folder / "input.toml").write_text(text.replace("validate_every = 20", "validate_every = 1"))
    whole, killed = folders
    finish(whole)
    rng, most_lost = np.random.default_rng(10), 0
    for _ in range(10):
        before = steps_kept(killed)
        kill_at_random(killed, rng, most=STEPS // 10)
        assert before <= steps_kept(killed) < STEPS
        most_lost = max(most_lost, steps_shown(killed) - steps_kept(killed))
    assert 0 < most_lost <= 7
    finish(killed, "--restart")
    assert_same_run(killed, whole)


def test_a_run_killed_while_it_reads_leaves_nothing_in_the_way(tmp_path, whole):
    written(tmp_path, STEPS)
    process = start(tmp_path)
    while not (tmp_path / "out").exists():
        time.sleep(0.002)
    process.kill()
    process.communicate()
    assert cli.main(["train", str(tmp_path / "input.toml"), "--output", str(tmp_path / "out"), "--quiet"]) == 0
    assert_same_run(tmp_path, whole)


def test_an_interrupted_run_says_so_and_goes_on(tmp_path, whole, capsys, monkeypatch):
    written(tmp_path, STEPS)
    process = start(tmp_path)
    wait_for_steps(process, tmp_path, 0)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, err) == (130, "")
    step = load_checkpoint(tmp_path / "out" / "checkpoint.pt").step
    assert out.endswith(f"interrupted at step {step}; out/checkpoint.pt holds step {step}: go on with restart, or "
                        "freeze it\n")
    assert not (tmp_path / "out" / "model.pth").exists()
    monkeypatch.chdir(tmp_path)
    status, out, _ = deeppot(capsys, "train", "input.toml", "--restart")
    assert status == 0
    assert f"going on from step {step}\n" in out
    assert_same_run(tmp_path, whole)


def test_restart_with_other_settings(whole, capsys):
    text = (whole / "input.toml").read_text().replace("start = 5e-3", "start = 6e-3")
    (whole / "other.toml").write_text(text)
    message = error_of(capsys, "train", whole / "other.toml", "--restart", "--output", whole / "out", "--quiet")
    assert message == "cannot restart with other settings: learning_rate.start (was 0.005, now 0.006)"


# evaluate ------------------------------------------------------------------------------------------------------------

@pytest.fixture
def copper_file(model_file):
    return model_file(type_map=("Cu",))


def table(out):
    """Of the printed table: label count, RMSE and MAE of each property."""
    rows = {}
    for line in out.splitlines():
        name, _, rest = line.partition(", m")
        if name in ("energy", "forces", "stress"):
            _, rmse, mae, count = rest.split(maxsplit=3)
            rows[name] = (count, rmse, mae)
    return rows


def test_evaluate_prints_the_right_numbers(copper, copper_file, tmp_path, capsys):
    status, out, err = deeppot(capsys, "evaluate", copper_file, tmp_path / "copper.traj")
    assert (status, err) == (0, "")
    errors = {"energy": [], "forces": [], "stress": []}
    for atoms in copper:
        own = atoms.copy()
        own.calc = DeepPotCalculator(copper_file)
        errors["energy"].append((own.get_potential_energy() - atoms.get_potential_energy()) / len(atoms))
        errors["forces"].append(own.get_forces() - atoms.get_forces())
        errors["stress"].append(own.get_stress(voigt=False) - atoms.get_stress(voigt=False))
    printed = table(out)
    for name, parts in errors.items():
        values = 1e3 * np.concatenate([np.ravel(part) for part in parts])
        count, rmse, mae = printed[name]
        assert int(count) == len(values)
        assert float(rmse) == pytest.approx(np.sqrt(np.mean(values**2)), rel=6e-4)
        assert float(mae) == pytest.approx(np.mean(np.abs(values)), rel=6e-4)


def test_evaluate_several_sources_and_keys(copper, copper_file, tmp_path, capsys):
    for atoms in copper:
        atoms.info["E"] = atoms.calc.results.pop("energy")
    write(tmp_path / "renamed.traj", copper)
    sources = (tmp_path / "renamed.traj@:2", tmp_path / "renamed.traj@2")
    status, out, err = deeppot(capsys, "evaluate", copper_file, *sources, "--key", "energy=E")
    assert (status, err, out.split("  ")[0]) == (0, "", "3 frames")
    assert table(out)["energy"][0] == "3"
    status, out, err = deeppot(capsys, "evaluate", copper_file, tmp_path / "renamed.traj")
    assert table(out)["energy"] == ("none in the data", "-", "-")
    assert err == (f'deeppot: warning: {tmp_path}/renamed.traj: no energy under "energy", found "E": set keys.energy\n')


@pytest.mark.parametrize(("key", "message"), [
    ("energy", "expected --key LABEL=KEY, got 'energy'"),
    ("enrgy=E", "unknown option 'enrgy' in [--key]; did you mean 'energy'?"),
    ("virial=W", 'expected virial_sign = '),
])
def test_keys_that_cannot_be_used(copper_file, capsys, key, message):
    assert error_of(capsys, "evaluate", copper_file, "x.traj", "--key", key).startswith(message)


def test_evaluate_names_frames_that_the_model_does_not_know(copper_file, tmp_path, capsys):
    images = [bulk(symbol, cubic=True) for symbol in ("Cu", "Au")]
    for atoms in images:
        atoms.rattle(0.1, seed=1)
    write(tmp_path / "gold.traj", list(map(emt, images)))
    message = error_of(capsys, "evaluate", copper_file, tmp_path / "gold.traj")
    assert message == f"{tmp_path}/gold.traj frame 1: expected elements of the model (Cu), got Au"


def test_evaluate_plots(copper, copper_file, tmp_path, capsys):
    from matplotlib.image import imread
    status, out, _ = deeppot(capsys, "evaluate", copper_file, tmp_path / "copper.traj", "--plot", tmp_path / "p.png")
    assert status == 0
    assert out.endswith(f"\nwrote {tmp_path}/p.png\n")
    image = imread(tmp_path / "p.png")
    assert image.shape[:2] == (1200, 1512)
    assert 0.01 < (image[:, :, :3].min(axis=2) < 0.9).mean() < 0.5


def test_evaluate_writes_tables_and_predictions(copper, copper_file, tmp_path, capsys):
    from ase.io import read
    status, out, _ = deeppot(capsys, "evaluate", copper_file, tmp_path / "copper.traj", "--csv", tmp_path / "e.csv",
                             "--save", tmp_path / "p.xyz")
    assert status == 0
    assert out.endswith(f"\nwrote {tmp_path}/e.csv\nwrote {tmp_path}/p.xyz\n")
    assert "forces by species, meV/A" in out
    lines = (tmp_path / "e.csv").read_text().splitlines()
    rmse = float(next(line for line in lines if line.startswith("species,Cu,forces")).split(",")[4])
    assert float(table(out)["forces"][1]) == pytest.approx(1e3 * rmse, rel=1e-3)
    images = read(tmp_path / "p.xyz", ":")
    own = copper[1].copy()
    own.calc = DeepPotCalculator(copper_file)
    np.testing.assert_allclose(images[1].get_forces(), own.get_forces(), atol=1e-7)
    np.testing.assert_allclose(images[1].arrays["REF_forces"], copper[1].get_forces(), atol=1e-7)


@pytest.mark.parametrize(("path", "reason"), [("no/p.png", "no such folder no"), (".", "it is a folder")])
def test_results_that_cannot_be_written(whole, copper_file, capsys, tmp_path, monkeypatch, path, reason):
    monkeypatch.chdir(tmp_path)
    assert error_of(capsys, "evaluate", copper_file, "x.traj", "--plot", path) == f"cannot write {path}: {reason}"
    assert error_of(capsys, "freeze", whole / "out" / "checkpoint.pt", "-o", path) == f"cannot write {path}: {reason}"


def test_evaluate_without_matplotlib(copper, copper_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    status, out, err = deeppot(capsys, "evaluate", copper_file, tmp_path / "copper.traj", "--plot", tmp_path / "p.png")
    assert (status, err) == (2, "deeppot: plots need matplotlib: pip install 'ase-deeppot[plots]'\n")
    assert len(table(out)) == 3
    assert deeppot(capsys, "evaluate", copper_file, tmp_path / "copper.traj")[0] == 0


# info, freeze --------------------------------------------------------------------------------------------------------

def test_info(whole, capsys):
    status, out, err = deeppot(capsys, "info", whole / "out" / "model.pth")
    assert (status, err) == (0, "")
    for text in ("elements        H, C, O\n", "rcut 4 A", "float32", "330 frames of 3 to 12 atoms", " of 16 terms, ",
                 f"ase-deeppot {__version__}", "validation RMSE energy "):
        assert text in out
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
    assert out == f"wrote {tmp_path}/frozen.pth, the model after {STEPS} of {STEPS} steps\n"
    frozen = load_model(tmp_path / "frozen.pth")
    assert all(torch.equal(value, checkpoint.weights[key]) for key, value in frozen.module.state_dict().items())
    assert frozen.card.training["steps"] == STEPS
    atoms = Atoms("OH2", [[0, 0, 0], [1, 0, 0], [0, 1, 0]])
    energies = []
    assert deeppot(capsys, "freeze", whole / "out" / "checkpoint.pt", "--best", "-o", tmp_path / "best.pth")[0] == 0
    for path in (tmp_path / "best.pth", whole / "out" / "model.pth"):
        atoms.calc = DeepPotCalculator(path)
        energies.append(atoms.get_potential_energy())
    assert energies[0] == energies[1]


def test_freeze_writes_beside_the_checkpoint(whole, tmp_path, capsys):
    (tmp_path / "checkpoint.pt").write_bytes((whole / "out" / "checkpoint.pt").read_bytes())
    assert deeppot(capsys, "freeze", tmp_path / "checkpoint.pt")[0] == 0
    assert (tmp_path / "model.pth").exists()
