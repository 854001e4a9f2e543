"""Checkpoints: all of a run in a file, and what is said of a file that is none."""

import errno
import os
import zipfile
from pathlib import Path

import builders
import pytest
import torch

from ase_deeppot import files
from ase_deeppot.errors import ModelFileError
from ase_deeppot.fitting import FittingConfig
from ase_deeppot.fitting.checkpoint import Best, Checkpoint, load_checkpoint, model_of, save_checkpoint
from ase_deeppot.fitting.config import DataConfig
from ase_deeppot.fitting.labels import KeyMapping
from ase_deeppot.fitting.learning_curve import Row, SourceRow


def example() -> Checkpoint:
    model = builders.random_model()
    optimizer = torch.optim.Adam(model.module.parameters(), lr=0.1)
    torch.autograd.backward(sum(parameter.square().sum() for parameter in model.module.parameters()))
    optimizer.step()
    config = FittingConfig(model=model.card.config, data=DataConfig(("a.db",), keys=KeyMapping(energy="E")))
    return Checkpoint(17, config, model.card, model.module.state_dict(), [optimizer.state_dict()],
                      torch.arange(6, dtype=torch.float64), [Row(1.0, *[float("nan")] * 9)],
                      [SourceRow(1.0, "a.db", 0.5, float("nan"), 0.25)],
                      Best(12, 0.5, {name: 2 * value for name, value in model.module.state_dict().items()}), 2.5)


def same(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or (one != one and other != other)


def test_what_is_saved_is_loaded(tmp_path):
    before = example()
    save_checkpoint(tmp_path / "checkpoint.pt", before)
    after = load_checkpoint(tmp_path / "checkpoint.pt")
    for name in Checkpoint._fields:
        assert same(getattr(before, name), getattr(after, name)), name
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_the_model_of_a_checkpoint_has_its_weights_and_says_how_far_it_came():
    checkpoint = example()
    model = model_of(checkpoint)
    assert same(dict(model.module.state_dict()), dict(checkpoint.weights))
    assert not model.module.training
    assert model.card.training == {"steps": 17, "seconds": 2.5}
    best = model_of(checkpoint, best=True)
    assert same(dict(best.module.state_dict()), checkpoint.best.weights)
    assert best.card.training["steps"] == 12
    with pytest.raises(ModelFileError, match="got one from before the first validation"):
        model_of(checkpoint._replace(best=None), best=True)


@pytest.mark.parametrize("stage", ["write", "rename"])
def test_a_failed_write_leaves_the_older_checkpoint(tmp_path, monkeypatch, stage):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, example())
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if stage == "write":
        monkeypatch.setattr(files.os, "fsync", full)
    else:
        monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, example()._replace(step=18))
    assert path.read_bytes() == before
    assert [left.name for left in tmp_path.iterdir()] == ["checkpoint.pt"]


def error_of(path) -> str:
    with pytest.raises(ModelFileError) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_that_are_no_checkpoint(tmp_path, model_file):
    path = tmp_path / "checkpoint.pt"
    assert error_of(path) == f"cannot read checkpoint {path}: No such file or directory"
    assert error_of(tmp_path).startswith(f"cannot read checkpoint {tmp_path}: ")
    save_checkpoint(path, example())
    good = path.read_bytes()
    for bad in (b"", b"hello", good[:1000], good[: len(good) // 2], good[:-30]):
        path.write_bytes(bad)
        assert error_of(path) == f"{path}: expected a checkpoint, got a truncated or foreign file"
    torch.save({"weights": torch.ones(3)}, path)
    assert error_of(path) == f"{path}: expected an ase_deeppot checkpoint, got another PyTorch file"
    assert error_of(model_file()).startswith(f"{model_file()}: expected a checkpoint, got ")


def test_flipped_bits_are_noticed(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, example())
    good = bytearray(path.read_bytes())
    entries = zipfile.ZipFile(path).infolist()
    largest = max(entries, key=lambda entry: entry.file_size)
    for entry in (entries[0], largest):
        bad = good.copy()
        bad[good.index(zipfile.ZipFile(path).read(entry)) + entry.file_size // 2] ^= 1
        (tmp_path / "bad.pt").write_bytes(bad)
        assert "expected a checkpoint, got " in error_of(tmp_path / "bad.pt")


def test_nothing_in_a_file_is_executed(tmp_path):
    class Harm:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "harm",))
    torch.save(Harm(), tmp_path / "checkpoint.pt")
    assert "truncated or foreign" in error_of(tmp_path / "checkpoint.pt")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(("changes", "message"), [
    ({"format_version": 99}, "expected checkpoint version 2 or older, got 99; update ase-deeppot"),
    ({"config": '{"outptu": "x"}'}, "expected a checkpoint of this version of ase-deeppot, got another: unknown option "
                                    "'outptu' in [the input]; did you mean 'output'?"),
    ({"step": None}, "expected a checkpoint of this version of ase-deeppot, got another: 'step'"),
])
def test_checkpoints_of_other_versions(tmp_path, changes, message):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, example())
    record = torch.load(path, weights_only=True) | changes
    torch.save({key: value for key, value in record.items() if value is not None}, path)
    assert error_of(path) == f"{path}: {message}"
