"""Evaluating some frames at a time: the same as all at once, with no more in memory than that."""

import builders
import numpy as np
import pytest
from ase.io import write

from ase_deeppot.fitting.breakdown import breakdown
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.evaluation import evaluate
from ase_deeppot.fitting.metrics import accuracy, parities, predict
from ase_deeppot.fitting.predicted import writing_predictions
from ase_deeppot.fitting.sources import open_for_now, read_frames
from ase_deeppot.fitting.stored import StoredFrames

LABELS = (("energy", "forces", "stress"), ("energy",), ("forces", "stress"))


@pytest.fixture(scope="module")
def model(compiled_loops):
    return builders.random_model(("Cu", "Au"), neuron=(3, 6), axis_neuron=2, fitting_neuron=(5, 5))


@pytest.fixture
def sources(alloys, tmp_path):
    """Two files; some of their frames lack labels."""
    for name, seed in (("a", 1), ("b", 2)):
        write(tmp_path / f"{name}.traj", alloys(7, seed=seed, properties=LABELS))
    return [str(tmp_path / "a.traj"), str(tmp_path / "b.traj")]


def evaluated(model, frames, path, block):
    with writing_predictions(path) as take:
        found = evaluate([model], Dataset(frames, model.card.type_map, model.card.rcut, memory=0.0), take, block=block)
    return found, path.read_bytes()


@pytest.mark.parametrize("block", [1, 20, 10_000])
def test_some_at_a_time_are_all_at_once(model, sources, tmp_path, block):
    frames, _ = read_frames(sources)
    predictions = predict([model], Dataset(frames, model.card.type_map, model.card.rcut))
    found, written = evaluated(model, open_for_now(sources)[0], tmp_path / "p.xyz", block)
    for column, parity in zip(found.drawn, parities(frames, predictions), strict=True):
        np.testing.assert_array_equal(column.sample.label, parity.label)
        np.testing.assert_allclose(column.sample.prediction, parity.prediction, rtol=1e-12, atol=1e-12)
        expected = accuracy(parity)
        assert column.errors[:2] + column.errors[4:5] == expected[:2] + expected[4:5]
        assert column.errors[2:] == pytest.approx(expected[2:], rel=1e-11)
    assert [entry.errors for entry in found.entries[:3]] == [column.errors for column in found.drawn]
    for entry, expected in zip(found.entries, breakdown(frames, predictions, model.card.type_map), strict=True):
        assert entry[:2] == expected[:2]
        assert entry.errors[2:] == pytest.approx(expected.errors[2:], rel=1e-11, nan_ok=True)
    with writing_predictions(tmp_path / "whole.xyz") as take:
        take(frames, predictions)
    assert written == (tmp_path / "whole.xyz").read_bytes()


def test_no_more_than_a_block_is_in_memory(model, sources, monkeypatch):
    read, original = [], StoredFrames.select

    def noted(self, indices):
        part = original(self, indices)
        read.append(int(part.offsets[-1]))
        return part
    monkeypatch.setattr(StoredFrames, "select", noted)
    frames, _ = open_for_now(sources)
    dataset = Dataset(frames, model.card.type_map, model.card.rcut, memory=0.0)
    read.clear()
    done = []
    evaluate([model], dataset, lambda frames, predictions: None, done.append, block=20)
    assert max(read) <= 20 < frames.offsets[-1] / 3
    assert done[-1] == frames.count
    assert done == sorted(done)


def test_no_file_is_left_of_an_evaluation_that_fails(model, sources, tmp_path):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(RuntimeError, match="in the middle"), writing_predictions(tmp_path / "p.xyz"):
        raise RuntimeError("in the middle")
    assert sorted(tmp_path.iterdir()) == before
