"""The training loop: Adam on the loss, rows and checkpoints in time, and what happens when something goes wrong."""

import errno
import math
import os
import signal
import threading

import numpy as np
import pytest
import torch

from ase_deeppot.config import parse
from ase_deeppot.fitting import FittingConfig, learning_curve, read_frames, steps, trainer
from ase_deeppot.fitting.bias import energy_bias
from ase_deeppot.fitting.checkpoint import load_checkpoint
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.loss import decay, loss, prefactors
from ase_deeppot.fitting.statistics import normalise, survey
from ase_deeppot.fitting.trainer import Trainer, TrainingError, interrupt_flag
from ase_deeppot.potential.card import ModelCard
from ase_deeppot.potential.deep_potential import DeepPotential

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def make(tmp_path, tiny, alloys):
    """Function: a trainer at its start, and the lines that it reports."""

    def build(**changes):
        options = tiny(**changes)
        options["model"]["type_map"] = ["Cu", "Au"]
        config = parse(FittingConfig, options | {"output": str(tmp_path)})
        data = Dataset(read_frames(alloys(10))[0], config.model.type_map, config.model.rcut)
        torch.manual_seed(1)
        model = DeepPotential(config.model)
        normalise(model.descriptor, survey(data, config.model))
        model.fitting_net.energy_bias.copy_(torch.from_numpy(energy_bias(data, ("Cu", "Au"), "least_squares")))
        lines: list[str] = []
        validation = Dataset(read_frames(alloys(3, seed=9))[0], config.model.type_map, config.model.rcut)
        return Trainer(config, model, ModelCard(config.model), data, validation, lines.append), lines

    return build


def weights(of: Trainer) -> np.ndarray:
    return np.concatenate([parameter.detach().numpy().ravel() for parameter in of.model.parameters()])


def run(one: Trainer) -> bool:
    return one.run(lambda done: None)


def test_steps_are_adam_on_the_loss(make):
    """The update rule of Kingma and Ba, written out."""
    adam = {"learning_rate": {"optimizer": "adam", "start": 5e-3, "stop": 1e-4, "decay": "exponential"}}
    one, _ = make(**adam)
    other, _ = make(**adam)
    first, second = np.zeros_like(weights(other)), np.zeros_like(weights(other))
    for step in range(4):
        one.step()
        falling = decay(other.config.learning_rate, step, 12)
        rate = falling * other.config.learning_rate.start
        batch = other.train.batch(other.sampler.indices(step), other.model.descriptor.geometry())
        other.model.zero_grad()
        value, _ = loss(other.model, batch, prefactors(other.config.loss, falling))
        torch.autograd.backward(value)
        gradient = np.concatenate([parameter.grad.numpy().ravel() for parameter in other.model.parameters()])
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        corrected = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.999 ** (step + 1))
        after = weights(other) - rate * corrected[0] / (np.sqrt(corrected[1]) + 1e-8)
        torch.nn.utils.vector_to_parameters(torch.from_numpy(after), other.model.parameters())
    np.testing.assert_allclose(weights(one), weights(other), rtol=1e-9, atol=1e-11)


def test_rows_and_checkpoints_come_when_they_are_due(make, monkeypatch):
    one, lines = make(training={"steps": 12, "validate_every": 5, "checkpoint_every": 4})
    saved, progress = [], []
    monkeypatch.setattr(trainer, "save_checkpoint", lambda path, checkpoint: saved.append(checkpoint.step))
    assert one.run(progress.append)
    assert progress == list(range(1, 13))
    assert saved == [4, 8, 12]
    assert [row[0] for row in one.rows] == [5, 10, 12]
    assert [line.split()[0] for line in lines] == ["5", "10", "12"]


def test_the_last_step_is_saved_once(make, monkeypatch):
    one, _ = make(training={"steps": 6, "checkpoint_every": 4})
    saved = []
    monkeypatch.setattr(trainer, "save_checkpoint", lambda path, checkpoint: saved.append(checkpoint.step))
    run(one)
    assert saved == [4, 6]


def test_means_are_those_of_many_frames(make):
    """Of one batch, all atoms may be alike: those of a perfect crystal."""
    one, _ = make(training={"batch_size": 1})
    assert one.prepare(0).centring is None
    assert one.prepare(99).centring is None
    types, features = one.prepare(100).centring
    assert len(types) == len(features) == sum(len(one.train.types_of_frame(k)) for k in range(10))


def test_a_restored_trainer_goes_on_with_the_same_numbers(make, tmp_path):
    whole, _ = make()
    run(whole)
    first, _ = make()
    for _ in range(7):
        first.step()
    first.add_row()
    first.step()
    first.save()
    second, _ = make()
    second.restore(load_checkpoint(tmp_path / "checkpoint.pt"))
    assert (second.done, second.saved) == (8, 8)
    while second.done < 12:
        second.step()
    np.testing.assert_array_equal(weights(second), weights(whole))
    assert second.rows == first.rows


def test_a_full_disk_stops_nothing(make, tmp_path, monkeypatch):
    one, lines = make(training={"steps": 12, "validate_every": 6, "checkpoint_every": 3})
    write, calls = trainer.save_checkpoint, []

    def full_for_a_while(path, checkpoint):
        calls.append(checkpoint.step)
        if checkpoint.step in (3, 9):
            raise FULL
        write(path, checkpoint)
    monkeypatch.setattr(trainer, "save_checkpoint", full_for_a_while)
    progress = []

    def look(done):
        progress.append(load_checkpoint(tmp_path / "checkpoint.pt").step if done >= 6 else None)
    assert one.run(look)
    assert calls == [3, 6, 9, 12]
    assert progress[5:] == [6] * 6 + [12]
    path = tmp_path / "checkpoint.pt"
    assert [line for line in lines if line.startswith("warning")] == [
        f"warning: could not write {path} at step 3 (No space left on device); there is none before it",
        f"warning: could not write {path} at step 9 (No space left on device); that of step 6 is intact"]


def test_a_learning_curve_that_cannot_be_written_stops_nothing(make, tmp_path, monkeypatch):
    one, lines = make()
    def full(*_):
        raise FULL
    monkeypatch.setattr(learning_curve, "write", full)
    assert run(one)
    assert lines[1] == (f"warning: could not write {tmp_path}/lcurve.csv at step 5 (No space left on device); "
                        "training goes on")


@pytest.mark.parametrize("when", ["in a step", "while progress is shown", "in a checkpoint"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_saves_whenever_it_comes(make, tmp_path, monkeypatch, number, when):
    one, _ = make(training={"steps": 12, "checkpoint_every": 6})
    before = signal.getsignal(number)
    step, save = one.step, one.save

    def interrupted_step():
        step()
        if when == "in a step" and one.done == 7:
            os.kill(os.getpid(), number)

    def interrupted_save():
        save()
        if when == "in a checkpoint":
            os.kill(os.getpid(), number)
    monkeypatch.setattr(one, "step", interrupted_step)
    monkeypatch.setattr(one, "save", interrupted_save)

    def progress(done):
        if when == "while progress is shown" and done == 7:
            os.kill(os.getpid(), number)
    assert not one.run(progress)
    stopped = 6 if when == "in a checkpoint" else 7
    assert load_checkpoint(tmp_path / "checkpoint.pt").step == stopped == one.done
    assert signal.getsignal(number) is before


def test_a_second_interrupt_ends_the_program():
    with interrupt_flag() as flag:
        assert not flag
        os.kill(os.getpid(), signal.SIGINT)
        assert flag
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_training_in_a_thread_leaves_signals_alone(make):
    one, _ = make(training={"steps": 2})
    finished = []
    thread = threading.Thread(target=lambda: finished.append(run(one)))
    thread.start()
    thread.join()
    assert finished == [True]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_training_before_it_spreads(make, tmp_path, bad):
    one, _ = make()
    for _ in range(3):
        one.step()
    one.save()
    one.train.frames.energies[:] = 1e200 if bad == math.inf else -1.0
    if bad != math.inf:
        with torch.no_grad():
            one.model.fitting_net.nets[0][1].bias.fill_(math.nan)
    before = weights(one)
    with pytest.raises(TrainingError) as caught:
        one.step()
    assert str(caught.value) == (
        f"the loss became {bad} at step 4: lower learning_rate.start (now 0.005) or look for frames with huge "
        f"forces; {tmp_path}/checkpoint.pt holds step 3")
    np.testing.assert_array_equal(weights(one), before)


def test_a_gradient_that_is_not_finite_ends_training(make, monkeypatch):
    one, _ = make()
    parameter = next(one.model.parameters())

    def root_of_zero(model, batch, prefactors):
        value, errors = loss(model, batch, prefactors)
        return value + (parameter.sum() * 0.0).sqrt(), errors
    monkeypatch.setattr(steps, "loss", root_of_zero)
    with pytest.raises(TrainingError, match=r"^the gradient of the loss is not finite at step 1: lower "):
        one.step()
    assert np.isfinite(weights(one)).all()
