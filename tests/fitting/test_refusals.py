"""What training in Python does not start with, or cannot end with, and says so."""

import errno
import os

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from ase_deeppot.errors import ConfigError, DataError, StructureError
from ase_deeppot.fitting import FittingConfig, fit
from ase_deeppot.fitting import finish as finish_module
from ase_deeppot.fitting.trainer import TrainingError


def test_a_run_is_not_overwritten(train, alloys, tmp_path):
    train(alloys(4))
    before = (tmp_path / "out" / "model.pth").read_bytes()
    with pytest.raises(ConfigError) as caught:
        train(alloys(4))
    assert str(caught.value) == (f"{tmp_path}/out/checkpoint.pt is there already: restart to go on from it, choose "
                                 "another output folder, or delete it")
    (tmp_path / "out" / "checkpoint.pt").unlink()
    with pytest.raises(ConfigError, match=r"model.pth is there already: choose another output folder, or delete it$"):
        train(alloys(4))
    assert (tmp_path / "out" / "model.pth").read_bytes() == before


def test_output_folders_that_cannot_be(train, alloys, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match=rf"^cannot make the output folder {tmp_path}/file: File exists$"):
        train(alloys(2), output="file")
    with pytest.raises(ConfigError, match=rf"^cannot make the output folder {tmp_path}/file/deep: Not a directory$"):
        train(alloys(2), output="file/deep")
    with pytest.raises(ConfigError, match=rf"^cannot restart: no {tmp_path}/none/checkpoint.pt$"):
        train(alloys(2), output="none", restart=True)
    assert not (tmp_path / "none").exists()


def test_a_corrupt_checkpoint_is_no_start(train, alloys, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "checkpoint.pt").write_bytes(b"hello")
    with pytest.raises(ValueError, match="expected a checkpoint, got a truncated or foreign file"):
        train(alloys(2), restart=True)


@pytest.mark.parametrize(("changes", "error", "message"), [
    ({"modl": {}}, ConfigError, "unknown option 'modl' in [the input]; did you mean 'model'?"),
    ({"training": {"step": 3}}, ConfigError, "unknown option 'step' in [training]; did you mean 'steps'?"),
    ({"model": {"type_map": ["Cu"]}}, StructureError, "Atoms in memory frame 0: expected elements of the model (Cu), "
                                                      "got Au"),
    ({"model": {"descriptor": {"order": 0}}}, ConfigError, "expected embedding nets that are read as a series "
                                                           "(descriptor.order >= 2) in training, got some with tanh"),
    ({"training": {"device": "gpu"}}, ConfigError, "expected a device that works here for training.device, got 'gpu'"),
])
def test_options_that_cannot_be_used(train, alloys, changes, error, message):
    with pytest.raises(error) as caught:
        train(alloys(1, gold=1.0), **changes)
    assert str(caught.value).startswith(message)


def test_config_and_options_exclude_each_other(alloys):
    with pytest.raises(ConfigError, match=r"expected either config or single options, got both \(config and output\)"):
        fit(alloys(1), config=FittingConfig(), output="x")


@pytest.mark.parametrize("sources", [None, []])
def test_no_sources(train, sources):
    with pytest.raises(ConfigError, match=r"^expected data.train to name at least one source, got none$"):
        train(sources)


def test_bad_data_are_named(train, alloys, tmp_path):
    images = alloys(3)
    images[1].calc.results["forces"][0, 0] = np.nan
    with pytest.raises(DataError, match=r"^Atoms in memory frame 1: expected finite numbers under 'forces', got nan$"):
        train(images)
    write(tmp_path / "a.db", alloys(3))
    with pytest.raises(DataError, match=r"a.db@natoms=77: expected at least one frame, got none$"):
        train(str(tmp_path / "a.db@natoms=77"))
    with pytest.raises(DataError, match=r'expected labels under "energy", "forces", "stress", got none'):
        train(Atoms("Cu", cell=3 * np.eye(3), pbc=True))
    other = Atoms("Ag", cell=3 * np.eye(3), pbc=True)
    other.calc = SinglePointCalculator(other, energy=0.0)
    write(tmp_path / "silver.traj", other)
    with pytest.raises(StructureError, match=r"silver.traj frame 0: expected elements of the model \(.*\), got Ag$"):
        train(alloys(3), str(tmp_path / "silver.traj"))


def test_a_model_that_cannot_be_written(train, alloys, tmp_path, monkeypatch):
    original = finish_module.save_model

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(finish_module, "save_model", full)
    with pytest.raises(TrainingError) as caught:
        train(alloys(4))
    assert str(caught.value) == (f"could not write {tmp_path}/out/model.pth (No space left on device); {tmp_path}/out/"
                                 "checkpoint.pt holds step 12: make room and restart")
    monkeypatch.setattr(finish_module, "save_model", original)
    assert train(alloys(4), restart=True).model.exists()
