"""Frames that stay in files: the same frames, batches and runs as in memory."""

import threading

import numpy as np
import pytest
import torch
from ase.io import write

from ase_deeppot.errors import DataError
from ase_deeppot.fitting import trainer
from ase_deeppot.fitting.checkpoint import load_checkpoint
from ase_deeppot.fitting.frames import Frames
from ase_deeppot.fitting.labels import STANDARD_KEYS
from ase_deeppot.fitting.sources import open_frames, read_frames
from ase_deeppot.fitting.stored import chunks
from ase_deeppot.fitting.summary import Summary, summarise


@pytest.fixture
def sources(alloys, tmp_path):
    """Two files with frames between them, and in memory the same."""
    images = alloys(9)
    write(tmp_path / "a.traj", images[:4])
    write(tmp_path / "b.traj", images[6:])
    return [tmp_path / "a.traj", *images[4:6], tmp_path / "b.traj"]


@pytest.fixture
def stored(sources, tmp_path):
    return open_frames(sources, STANDARD_KEYS, tmp_path / "cache", 1e9)[0]


def assert_same(one: Frames, other: Frames) -> None:
    for name, first, second in zip(Frames._fields, one, other, strict=True):
        if name == "names":
            assert first == second
        else:
            assert (first.dtype, first.shape, first.tobytes()) == (second.dtype, second.shape, second.tobytes()), name


@pytest.mark.parametrize("indices", [[], [3], [8, 0, 4, 4, -1], slice(1, None, 2), slice(None), np.arange(9) % 3 > 0])
def test_what_is_read_is_what_was_written(stored, sources, indices):
    frames, _ = read_frames(sources)
    assert_same(stored.select(indices), frames.select(indices))
    assert_same(stored.subset(indices).select(slice(None)), frames.select(indices))
    assert [stored.label(k) for k in range(9)] == [frames.label(k) for k in range(9)]


@pytest.mark.parametrize("atoms", [1, 12, 1000])
def test_chunks_are_all_frames_in_order(stored, atoms):
    parts = list(chunks(stored, atoms))
    together = np.concatenate([part.positions for part in parts])
    np.testing.assert_array_equal(together, stored.select(slice(None)).positions)
    assert all(len(part.numbers) <= atoms or part.count == 1 for part in parts)
    assert len(parts) == {1: 9, 12: 5, 1000: 1}[atoms]


def test_summaries_do_not_depend_on_the_chunks(stored, sources, monkeypatch):
    whole = summarise(read_frames(sources)[0])
    monkeypatch.setattr("ase_deeppot.fitting.summary.chunks", lambda frames: chunks(frames, 10))
    for name, first, second in zip(Summary._fields, whole, summarise(stored), strict=True):
        np.testing.assert_array_equal(first, second, err_msg=name)


def test_a_subset_reads_nothing(stored):
    class Unreadable:
        def __getitem__(self, rows):
            raise OSError("gone")
    broken = stored._replace(rows=(stored.rows[0], Unreadable(), stored.rows[2]))
    assert broken.subset([5, 1]).count == 2
    assert broken.select([0, 8]).count == 2
    with pytest.raises(DataError, match=r"^Atoms in memory frame 1: expected to read it from the cache .*, got gone$"):
        broken.select([0, 5])


# Runs ----------------------------------------------------------------------------------------------------------------

def assert_same_run(one, other):
    first, second = (load_checkpoint(folder / "checkpoint.pt") for folder in (one, other))
    assert first.weights.keys() == second.weights.keys()
    for name, values in first.weights.items():
        assert torch.equal(values, second.weights[name]), name
    np.testing.assert_array_equal([row[:-1] for row in first.rows], [row[:-1] for row in second.rows])  # but seconds
    assert first.best.step == second.best.step


def test_a_run_from_disk_is_the_run_in_memory(train, alloys, tmp_path, monkeypatch):
    write(tmp_path / "all.traj", alloys(30, seed=4))
    monkeypatch.setattr(trainer, "RECENTRE_EVERY", 3)
    train(tmp_path / "all.traj", output="memory")
    train(tmp_path / "all.traj", output="disk", data={"memory": 1e-6})
    assert "they are read from disk" in (tmp_path / "disk" / "train.log").read_text()
    assert "from disk" not in (tmp_path / "memory" / "train.log").read_text()
    assert_same_run(tmp_path / "memory", tmp_path / "disk")
    assert (tmp_path / "memory" / "model.pth").exists()


def test_a_restart_may_have_another_memory(train, alloys, tmp_path, monkeypatch):
    write(tmp_path / "all.traj", alloys(30, seed=4))
    train(tmp_path / "all.traj", output="whole")
    original = trainer.Trainer.save

    def stopping(self):
        original(self)
        if self.done == 8:
            raise KeyboardInterrupt
    monkeypatch.setattr(trainer.Trainer, "save", stopping)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "all.traj", output="parts", data={"memory": 1e-6})
    monkeypatch.setattr(trainer.Trainer, "save", original)
    train(tmp_path / "all.traj", output="parts", restart=True, data={"memory": 2e-6})
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_frame_that_cannot_be_read_ends_the_run_with_its_name_and_a_checkpoint(train, alloys, tmp_path, monkeypatch):
    write(tmp_path / "all.traj", alloys(30, seed=4))
    pairs = trainer.Dataset.pairs

    def failing(self, k):
        if threading.current_thread().name.startswith("deeppot-prefetch") and len(self) > 20 and k == 11:
            raise MemoryError("no room")
        return pairs(self, k)
    monkeypatch.setattr(trainer.Dataset, "pairs", failing)
    with pytest.raises(DataError, match=r"^.*all\.traj frame \d+: MemoryError: no room$"):
        train(tmp_path / "all.traj", data={"memory": 1e-6}, training={"steps": 20, "checkpoint_every": 1000})
    assert not any(thread.name.startswith("deeppot-prefetch") for thread in threading.enumerate())
    assert load_checkpoint(tmp_path / "out" / "checkpoint.pt").step > 0
