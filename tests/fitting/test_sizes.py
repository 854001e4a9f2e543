"""Errors against the number of frames: nested sets, finished and interrupted runs taken up, mistakes told."""

import os
from dataclasses import replace

import numpy as np
import pytest
from ase.io import write

from ase_deeppot.config import parse
from ase_deeppot.errors import ConfigError
from ase_deeppot.fitting import FittingConfig, trainer
from ase_deeppot.fitting.sizes import nested_subset, train_sizes
from ase_deeppot.fitting.sources import read_frames
from ase_deeppot.potential.archive import read_card


@pytest.fixture
def config(alloys, tmp_path, tiny):
    """Function: a configuration of runs on ten frames, with changes."""
    write(tmp_path / "train.traj", alloys(10))
    write(tmp_path / "test.traj", alloys(3, seed=1))

    def make(**changes):
        options = tiny(**changes)
        data = {"train": [str(tmp_path / "train.traj")], "validation": [str(tmp_path / "test.traj")]}
        options["data"] = data | options.get("data", {})
        return parse(FittingConfig, options | {"output": str(tmp_path / "sizes")})

    return make


def test_subsets_are_nested_and_keep_isolated_atoms(alloys, isolated):
    frames, _ = read_frames([*alloys(9), isolated("Cu")])
    small, large = (set(nested_subset(frames, n, seed=3).origin.tolist()) for n in (3, 7))
    assert (len(small), len(large)) == (3, 7)
    assert 9 in small < large
    assert set(nested_subset(frames, 3, seed=4).origin.tolist()) != small


def test_table_and_pictures(config, tmp_path, capsys):
    rows = train_sizes(config(), [8, 2, 4], quiet=True)
    assert [row.frames for row in rows] == [2, 4, 8]
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()] == ["frames", "2", "4", "8", "wrote"]
    lines = (tmp_path / "sizes" / "sizes.csv").read_text().splitlines()
    assert lines[0] == "frames,rmse_e,rmse_f,rmse_s"
    np.testing.assert_allclose(np.array([line.split(",") for line in lines[1:]], dtype=float), rows, rtol=1e-7)
    assert (tmp_path / "sizes" / "sizes.png").read_bytes().startswith(b"\x89PNG")
    for row in rows:
        card = read_card(tmp_path / "sizes" / f"size-{row.frames:06d}" / "model.pth")
        assert card.domain.frames == row.frames
        assert card.type_map == ("Cu", "Au")
        assert card.training["validation_rmse"]["forces"] == row.rmse_f


def test_it_goes_on_where_it_was_interrupted(config, tmp_path, monkeypatch, capsys):
    original, steps = trainer.Trainer.step, []

    def stopping(self):
        original(self)
        steps.append(self.done)
        if len(steps) == 17:
            os.kill(os.getpid(), 2)
    monkeypatch.setattr(trainer.Trainer, "step", stopping)
    assert train_sizes(config(), [2, 4], quiet=True) == []
    rows = train_sizes(config(), [2, 4], quiet=True)
    assert steps == [*range(1, 13), *range(1, 13)]  # the first run was not done again, the second went on
    whole = train_sizes(replace(config(), output=str(tmp_path / "whole")), [2, 4], quiet=True)
    assert rows == whole


@pytest.mark.parametrize(("changes", "sizes", "message"), [
    ({}, [2, 11], "expected sizes from 1 to the 10 training frames, got 11"),
    ({}, [0], "expected sizes from 1 to the 10 training frames, got 0"),
    ({"data": {"validation": [], "validation_fraction": 0.0}}, [2], "expected validation frames to compare"),
])
def test_what_cannot_be_done(config, changes, sizes, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        train_sizes(config(**changes), sizes, quiet=True)


def test_finished_runs_of_other_settings_are_not_mixed_in(config, tmp_path):
    train_sizes(config(), [2], quiet=True)
    with pytest.raises(ConfigError) as caught:
        train_sizes(config(training={"seed": 2}), [2], quiet=True)
    assert "training.seed (was 1, now 2)" in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/sizes/size-000002: cannot restart with other settings")
