"""Folders, data and runs that tests of several commands share."""

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write
from runs import WHOLE, emt, written

from ase_deeppot import cli


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A current folder with input.toml, for 25 steps on the alcohols."""
    monkeypatch.chdir(tmp_path)
    return written(tmp_path)

@pytest.fixture
def copper(tmp_path):
    rng = np.random.default_rng(0)
    images = [bulk("Cu", a=3.7, cubic=True) * (1, 1, n) for n in (1, 2, 1)]
    for atoms in images:
        atoms.rattle(0.1, rng=rng)
        emt(atoms)
    write(tmp_path / "copper.traj", images)
    return images

@pytest.fixture
def copper_file(model_file):
    return model_file(type_map=("Cu",))

@pytest.fixture(scope="session")
def whole(tmp_path_factory, compiled_loops):
    """Folder of a run that nothing happened to."""
    folder = written(tmp_path_factory.mktemp("whole"), steps=WHOLE)
    assert cli.main(["train", str(folder / "input.toml"), "--output", str(folder / "out"), "--quiet"]) == 0
    return folder
