"""Runs that were interrupted go on with the same numbers, and other runs are refused."""

import numpy as np
import pytest
from ase.io import write
from trained import curve, equal, interrupt_at

from ase_deeppot.errors import ConfigError


def test_an_interrupted_run_goes_on_with_the_same_numbers(train, alloys, tmp_path, monkeypatch):
    images = alloys(10)
    whole = train(images, output="whole")
    undo = interrupt_at(monkeypatch, 7)
    result = train(images)
    assert not result.finished
    assert not result.model.exists()
    assert (tmp_path / "out" / "train.log").read_text().endswith(
        f"interrupted at step 7; {tmp_path}/out/checkpoint.pt holds step 7: go on with restart, or freeze it\n")
    undo()
    result = train(images, restart=True)
    assert result.finished
    assert equal(result.model, whole.model)
    np.testing.assert_array_equal(curve(tmp_path / "out"), curve(tmp_path / "whole"))
    again = train(images, restart=True)  # a finished run has nothing left to do
    assert again.finished
    assert equal(again.model, whole.model)


@pytest.fixture
def stopped(train, alloys, monkeypatch):
    """Images of a run in out/ that stopped at step 5."""
    images = alloys(8)
    undo = interrupt_at(monkeypatch, 5)
    train(images, alloys(3, seed=1))
    undo()
    return images


@pytest.mark.parametrize(("changes", "message"), [
    ({"training": {"steps": 20}}, "training.steps (was 12, now 20)"),
    ({"model": {"descriptor": {"neuron": [3, 6], "axis_neuron": 3}}}, "model.descriptor.axis_neuron (was 2, now 3)"),
    ({"loss": {"limit_pref_e": 3}, "learning_rate": {"start": 0.1}},
     "loss.limit_pref_e (was 400.0, now 3.0), learning_rate.start (was 0.005, now 0.1)"),
    ({"data": {"keys": {"stress": "S"}}}, "data.keys.stress (was 'stress', now 'S')"),
])
def test_other_settings_are_refused_by_name(train, stopped, alloys, changes, message):
    with pytest.raises(ConfigError) as caught:
        train(stopped, alloys(3, seed=1), restart=True, **changes)
    assert str(caught.value) == f"cannot restart with other settings: {message}"


def test_settings_that_change_no_number_may_change(train, stopped, alloys):
    result = train(stopped, alloys(3, seed=1), restart=True, training={"checkpoint_every": 3},
                   data={"memory": 0.1})
    whole = train(stopped, alloys(3, seed=1), output="whole")
    assert equal(result.model, whole.model)


@pytest.mark.parametrize("part", ["training", "validation"])
def test_other_data_are_refused_by_name(train, stopped, alloys, tmp_path, part):
    write(tmp_path / "new.traj", alloys(3, seed=7))
    sources = {"training": stopped, "validation": alloys(3, seed=1)}
    for changed in (sources[part][:-1], [*sources[part], str(tmp_path / "new.traj")]):
        with pytest.raises(ConfigError) as caught:
            train(*(sources | {part: changed}).values(), restart=True)
        assert f"cannot restart with other data: the {part} frames of " in str(caught.value)
        assert str(caught.value).endswith(" are not those of the checkpoint")
    assert "new.traj" in str(caught.value)


def test_data_may_move(train, alloys, tmp_path, monkeypatch):
    images = alloys(8)
    write(tmp_path / "a.traj", images)
    undo = interrupt_at(monkeypatch, 5)
    train(str(tmp_path / "a.traj"))
    undo()
    (tmp_path / "a.traj").rename(tmp_path / "b.traj")
    assert equal(train(str(tmp_path / "b.traj"), restart=True).model, train(images, output="whole").model)
