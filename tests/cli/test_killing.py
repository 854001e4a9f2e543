"""Training that is killed or interrupted goes on with the same numbers."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from runs import WHOLE, deeppot, error_of, written

from ase_deeppot import cli
from ase_deeppot.fitting import learning_curve
from ase_deeppot.fitting.checkpoint import load_checkpoint
from ase_deeppot.potential.archive import load_model


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
    written(tmp_path, steps=WHOLE)
    reached = kill_after_checkpoints(tmp_path, times=2, seed=2)
    assert reached == sorted(reached)
    assert 0 < reached[0] < WHOLE
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
    whole, killed = (written(tmp_path / name, steps=WHOLE, validate_every=1) for name in ("whole", "killed"))
    finish(whole)
    rng, most_lost = np.random.default_rng(10), 0
    for _ in range(10):
        before = steps_kept(killed)
        kill_at_random(killed, rng, most=WHOLE // 10)
        assert before <= steps_kept(killed) < WHOLE
        most_lost = max(most_lost, steps_shown(killed) - steps_kept(killed))
    assert 0 < most_lost <= 7
    finish(killed, "--restart")
    assert_same_run(killed, whole)


@pytest.mark.slow
def test_a_run_killed_while_it_reads_leaves_nothing_in_the_way(tmp_path, whole):
    written(tmp_path, steps=WHOLE)
    process = start(tmp_path)
    while not (tmp_path / "out").exists():
        time.sleep(0.002)
    process.kill()
    process.communicate()
    assert cli.main(["train", str(tmp_path / "input.toml"), "--output", str(tmp_path / "out"), "--quiet"]) == 0
    assert_same_run(tmp_path, whole)


@pytest.mark.slow
def test_an_interrupted_run_says_so_and_goes_on(tmp_path, whole, capsys, monkeypatch):
    written(tmp_path, steps=WHOLE)
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
    text = (whole / "input.toml").read_text().replace("start = 0.005", "start = 0.006")
    (whole / "other.toml").write_text(text)
    message = error_of(capsys, "train", whole / "other.toml", "--restart", "--output", whole / "out", "--quiet")
    assert message == "cannot restart with other settings: learning_rate.start (was 0.005, now 0.006)"
