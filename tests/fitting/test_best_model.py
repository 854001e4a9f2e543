"""The best model, an early stop, and errors by source."""

import numpy as np
import pytest
import torch
from ase.io import write
from trained import curve, equal, interrupt_at, weights

from ase_deeppot.fitting import learning_curve, trainer
from ase_deeppot.fitting.checkpoint import load_checkpoint
from ase_deeppot.fitting.validation import validate
from ase_deeppot.potential.archive import read_card


@pytest.fixture
def losses(monkeypatch):
    """Validation losses that the test chooses, one after the other; the last one again and again."""
    chosen = []

    def scripted(model, dataset, config, processes):
        found = validate(model, dataset, config)
        value = chosen.pop(0) if len(chosen) > 1 else chosen[0] if chosen else found.loss
        return found._replace(loss=value)
    monkeypatch.setattr(trainer, "validate", scripted)
    return chosen


def test_the_best_model_is_kept_beside_the_last(train, alloys, tmp_path, losses):
    losses += [3.0, 1.0, 2.0]
    result = train(alloys(6), alloys(3, seed=1), training={"steps": 12, "validate_every": 4})
    best, last = result.model, tmp_path / "out" / "last.pth"
    assert (read_card(best).training["steps"], read_card(last).training["steps"]) == (8, 12)
    checkpoint = load_checkpoint(tmp_path / "out" / "checkpoint.pt")
    assert all(torch.equal(checkpoint.best.weights[key], value) for key, value in weights(best).items())
    assert all(torch.equal(checkpoint.weights[key], value) for key, value in weights(last).items())
    assert not equal(best, last)
    rows = learning_curve.read(tmp_path / "out" / "lcurve.csv")
    assert [row.loss_val for row in rows] == [3.0, 1.0, 2.0]
    assert result.validation[1].rmse == pytest.approx(rows[1].rmse_f_val, rel=1e-6)
    assert read_card(last).training["validation_rmse"]["forces"] == pytest.approx(rows[2].rmse_f_val, rel=1e-6)


def test_patience(train, alloys, tmp_path, losses):
    losses += [3.0, 2.0, 2.5, 2.0, 1.0]
    options = {"steps": 60, "validate_every": 4, "patience": 2}
    result = train(alloys(6), alloys(3, seed=1), training=options)
    assert result.finished
    assert [row.step for row in learning_curve.read(tmp_path / "out" / "lcurve.csv")] == [4, 8, 12, 16]
    log = (tmp_path / "out" / "train.log").read_text()
    assert "no better model in 2 validations: stopped early, at step 16\n" in log
    assert read_card(result.model).training["steps"] == 8
    again = train(alloys(6), alloys(3, seed=1), training=options, restart=True)
    assert again.finished
    assert len(learning_curve.read(tmp_path / "out" / "lcurve.csv")) == 4
    train(alloys(6), alloys(3, seed=1), training=options | {"patience": 3}, restart=True)  # more of it goes on
    assert [row.step for row in learning_curve.read(tmp_path / "out" / "lcurve.csv")][4] == 20


def test_an_early_stop_comes_at_the_same_step_after_an_interrupt(train, alloys, tmp_path, monkeypatch):
    images, held_out = alloys(6), alloys(3, seed=1)
    options = {"steps": 400, "validate_every": 2, "patience": 3, "checkpoint_every": 5}
    rate = {"start": 0.3, "stop": 0.3}
    whole = train(images, held_out, output="whole", training=options, learning_rate=rate)
    steps = read_card(whole.model).training["steps_done"]
    assert steps < 400
    undo = interrupt_at(monkeypatch, steps - 3)
    train(images, held_out, training=options, learning_rate=rate)
    undo()
    result = train(images, held_out, training=options, learning_rate=rate, restart=True)
    assert read_card(result.model).training["steps_done"] == steps
    assert equal(result.model, whole.model)
    np.testing.assert_array_equal(curve(tmp_path / "out"), curve(tmp_path / "whole"))


def test_errors_by_source(train, alloys, tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        write(tmp_path / f"{name}.traj", alloys(3, seed=seed))
    held_out = [str(tmp_path / "a.traj"), str(tmp_path / "b.traj")]
    train(alloys(6), held_out)
    lines = (tmp_path / "out" / "lcurve_sources.csv").read_text().splitlines()
    expected = [[step, name] for step in ("5", "10", "12") for name in held_out]
    assert [line.split(",")[:2] for line in lines[1:]] == expected
    squares = [float(line.split(",")[3]) ** 2 for line in lines[-2:]]
    atoms = [sum(map(len, alloys(3, seed=seed))) for seed in (1, 2)]
    rmse = np.sqrt(np.average(squares, weights=atoms))
    assert learning_curve.read(tmp_path / "out" / "lcurve.csv")[-1].rmse_f_val == pytest.approx(rmse, rel=1e-6)
    assert f"\n  {held_out[1]}: energy " in (tmp_path / "out" / "train.log").read_text()
