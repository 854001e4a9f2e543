"""Several processes on one run: the numbers of one process, the files of one, and an end when one of them dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import builders
import numpy as np
import pytest
import torch
from runs import written

from ase_deeppot.errors import ConfigError
from ase_deeppot.fitting import learning_curve
from ase_deeppot.fitting.checkpoint import load_checkpoint
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.loss import Prefactors, loss
from ase_deeppot.fitting.processes import Processes, started
from ase_deeppot.fitting.sizes import train_sizes
from ase_deeppot.fitting.sources import read_frames
from ase_deeppot.potential.archive import read_card

# Shares of a batch ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_losses_and_gradients_of_the_shares_add_up_to_those_of_the_batch(alloys, count):
    model = builders.random_model(("Cu", "Au"), neuron=(3, 6), axis_neuron=2, fitting_neuron=(5, 5)).module
    images = alloys(7, seed=2, properties=(("energy",), ("energy", "forces"), ("forces", "stress")))
    dataset = Dataset(read_frames(images)[0], ("Cu", "Au"), 4.0)
    whole = np.array([5, 0, 3, 6, 1])

    def gradient(share):
        model.zero_grad()
        batch = dataset.batch(share, model.descriptor.geometry(), of=whole)
        value, errors = loss(model, batch, Prefactors(3.0, 50.0, 0.7))
        torch.autograd.backward(value)
        gradients = [parameter.grad.reshape(-1) for parameter in model.parameters() if parameter.grad is not None]
        return torch.cat([value.detach().reshape(1), learning_curve.sums_of(errors), *gradients])

    shares = [Processes(rank, count).share(whole) for rank in range(count)]
    assert sorted(np.concatenate(shares)) == sorted(whole)
    total = sum(gradient(share) for share in shares if len(share))
    torch.testing.assert_close(total, gradient(whole), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(gradient(whole)[0], loss(model, dataset.batch(whole, model.descriptor.geometry()),
                                                        Prefactors(3.0, 50.0, 0.7))[0].detach())


# What torchrun says --------------------------------------------------------------------------------------------------

def torchrun_says(monkeypatch, **changes):
    values = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in (values | changes).items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)


def test_the_environment_tells_which_process_this_is(monkeypatch, alloys, tiny):
    assert started() == Processes(0, 1, 0)
    torchrun_says(monkeypatch)
    assert started() == Processes(1, 4, 0)
    assert not started().first
    torchrun_says(monkeypatch, MASTER_ADDR="")  # set by something else than torchrun
    assert started() == Processes(0, 1, 0)


def test_a_gpu_for_each_process():
    assert Processes(5, 8, 1).device("cuda") == "cuda:1"
    assert Processes(5, 8, 1).device("cpu") == "cpu"
    assert Processes().device("cuda:1") == "cuda:1"
    with pytest.raises(ConfigError, match=r"^expected 'cuda' for training.device with several processes, got 'cuda:1'"):
        Processes(1, 2, 1).device("cuda:1")


def test_a_learning_curve_wants_one_process(monkeypatch):
    torchrun_says(monkeypatch)
    with pytest.raises(ConfigError, match=r"^expected one process for a learning curve, got 4$"):
        train_sizes(None, [1])


# Runs ----------------------------------------------------------------------------------------------------------------

# 330 frames, seven a step: uneven shares, and a last step of an epoch with one frame, nothing for the second process.
RUN = {"precision": "float64", "steps": 100, "batch_size": 7, "validate_every": 25, "checkpoint_every": 5}


def start(folder, count, *options):
    """``deeppot train`` in so many processes, by torchrun unless it is one."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"] if count > 1 else []
    return subprocess.Popen([sys.executable, *torchrun, "-m", "ase_deeppot.fitting", "input.toml", *options],
                            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env=os.environ | {"OMP_NUM_THREADS": "1"})


def finished(folder, count, *options):
    process = start(folder, count, *options)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert out == (folder / "out" / "train.log").read_text() or "--restart" in options
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory, compiled_loops):
    return finished(written(tmp_path_factory.mktemp("alone"), **RUN), 1)


@pytest.fixture(scope="module")
def pair(tmp_path_factory, alone):
    return finished(written(tmp_path_factory.mktemp("pair"), **RUN), 2)


def state(folder):
    return load_checkpoint(folder / "out" / "checkpoint.pt")


def curve(folder):
    return np.array(learning_curve.read(folder / "out" / "lcurve.csv"))[:, :-1]


def assert_close(one, other):
    one, other = state(one), state(other)
    assert one.step == other.step
    for name, value in one.weights.items():
        torch.testing.assert_close(other.weights[name], value, rtol=1e-10, atol=1e-12)


def test_two_processes_are_one_run(alone, pair):
    assert_close(alone, pair)
    np.testing.assert_allclose(curve(pair), curve(alone), rtol=1e-7)
    files = [sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")) for folder in (alone, pair)]
    assert files[0] == files[1]
    logs = [(folder / "out" / "train.log").read_text() for folder in (alone, pair)]
    assert logs[0] == logs[1]


@pytest.mark.slow
def test_two_processes_are_one_run_of_a_kalman_filter(tmp_path, compiled_loops):
    options = RUN | {"optimizer": "kalman", "steps": 4, "fit_output_layers": "false"}  # later rounding errors grow
    one, two = (finished(written(tmp_path / str(count), **options), count) for count in (1, 2))
    assert_close(one, two)
    np.testing.assert_allclose(curve(two), curve(one), rtol=1e-7)


@pytest.mark.slow
def test_two_processes_that_read_from_disk_are_two_in_memory(tmp_path, pair):
    folder = finished(written(tmp_path, **RUN, memory=1e-6), 2)
    assert "they are read from disk" in (folder / "out" / "train.log").read_text()
    assert "from disk" not in (pair / "out" / "train.log").read_text()
    assert_same_run(folder, pair)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_are_one_run(tmp_path, alone):
    assert_close(alone, finished(written(tmp_path, **RUN, device="cuda"), 2))


@pytest.mark.slow
def test_an_early_stop_is_one_for_all(tmp_path, compiled_loops):
    folder = finished(written(tmp_path, **RUN, rate=3.0, patience=1, optimizer="adam", fit_output_layers="false"), 2)
    assert "stopped early, at step " in (folder / "out" / "train.log").read_text()
    assert read_card(folder / "out" / "model.pth").training["steps_done"] < RUN["steps"]


THREADS = """
from pathlib import Path
from ase_deeppot.fitting.processes import joined
with joined("cpu") as processes:
    assert processes.any(processes.first)
    import torch.distributed.nn.functional  # which keeps the group of its first import
print(*(thread.joinpath("comm").read_text().strip() for thread in Path("/proc/self/task").iterdir()))
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
def test_no_thread_outlives_the_group(tmp_path):
    (tmp_path / "script.py").write_text(THREADS)
    out = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
                          "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert len(out.splitlines()) == 2  # names of threads, of each process
    assert "gloo" not in out


def wait_for_checkpoint(process, folder):
    while process.poll() is None and not (folder / "out" / "checkpoint.pt").exists():
        time.sleep(0.01)


def workers(process):
    """The processes that torchrun started, by rank."""
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def assert_same_run(folder, other):
    for name, value in state(other).weights.items():
        assert torch.equal(state(folder).weights[name], value)
    np.testing.assert_array_equal(curve(folder), curve(other))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_all_and_a_restart_goes_on(tmp_path, pair, rank):
    process = start(written(tmp_path, **RUN), 2)
    wait_for_checkpoint(process, tmp_path)
    os.kill(workers(process)[rank], signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Signal 9 (SIGKILL) received" in err
    assert 0 < state(tmp_path).step < 150
    process = start(tmp_path, 2)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "deeppot: out/checkpoint.pt is there already: restart to go on from it" in err
    if rank == 1:
        assert_same_run(finished(tmp_path, 2, "--restart"), pair)
    else:  # another number of processes
        assert_close(finished(tmp_path, 1, "--restart"), pair)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_of_torchrun_saves(tmp_path, pair, number):
    process = start(written(tmp_path, **RUN), 2)
    wait_for_checkpoint(process, tmp_path)
    process.send_signal(number)
    out, _ = process.communicate(timeout=120)
    step = state(tmp_path).step
    assert f"interrupted at step {step}; out/checkpoint.pt holds step {step}" in out
    assert_same_run(finished(tmp_path, 2, "--restart"), pair)
