"""Frames of files as they are read: some rows of a database, some frames of a system at a time."""

import h5py
import numpy as np
import pytest
from ase.db import connect
from ase.db.sqlite import SQLite3Database
from labelled_atoms import dataset, write_frames

from ase_deeppot.fitting import readers, systems
from ase_deeppot.fitting.conversion import write_frames as write_systems
from ase_deeppot.fitting.readers import images
from ase_deeppot.fitting.sources import read_frames


@pytest.fixture
def rows_read(monkeypatch):
    """Numbers of whole rows that the database was asked for at a time, two at most by ours."""
    numbers, original = [], SQLite3Database._select

    def noted(self, *arguments, **options):
        rows = list(original(self, *arguments, **options))
        numbers.extend([len(rows)] if options["columns"] == "all" else [])
        return iter(rows)
    monkeypatch.setattr(SQLite3Database, "_select", noted)
    monkeypatch.setattr(readers, "PAGE", 2)
    return numbers


@pytest.mark.parametrize("selection", [slice(None), slice(3), slice(1, 7, 3), slice(-3, None), slice(0, 0), "natoms=2",
                                       "natoms>1,O", "Si"])
def test_a_database_some_rows_at_a_time(tmp_path, rows_read, selection):
    path = write_frames(tmp_path / "a.db", dataset(9))
    with connect(path) as database:
        database.delete([2, 5])
        every = database.select(selection) if isinstance(selection, str) else list(database.select())[selection]
        expected = [row.energy for row in every]
    rows_read.clear()
    found = [atoms.get_potential_energy() for atoms in images(path, selection, "a.db")]
    assert found == expected
    most = 2 * (getattr(selection, "step", None) or 1)
    assert not rows_read if not expected else 0 < max(rows_read) <= most


@pytest.mark.parametrize("selection", ["", "@:3", "@1:", "@::2", "@-2:", "@::-1", "@4"])
@pytest.mark.parametrize("name", ["systems", "systems.h5"])
def test_systems_some_frames_at_a_time(tmp_path, monkeypatch, name, selection):
    frames, _ = read_frames(dataset(7))
    write_systems(frames, tmp_path / name)
    whole, _ = read_frames(f"{tmp_path / name}{selection}")
    monkeypatch.setattr(systems, "BLOCK", 3)
    parts, _ = read_frames(f"{tmp_path / name}{selection}")
    assert whole.count == parts.count > 0
    for one, other in zip(whole[:9], parts[:9], strict=True):
        np.testing.assert_array_equal(one, other)


def test_no_more_of_a_system_than_a_block_is_read(tmp_path, monkeypatch):
    structure = dataset(2)[1]
    write_systems(read_frames([structure] * 10)[0], tmp_path / "systems.h5")
    taken, original = [], h5py.Dataset.__getitem__

    def noted(self, rows):
        part = original(self, rows)
        taken.append((self.name.rsplit("/", 1)[1], np.shape(part)))
        return part
    monkeypatch.setattr(h5py.Dataset, "__getitem__", noted)
    monkeypatch.setattr(systems, "BLOCK", 3 * len(structure))
    assert read_frames(str(tmp_path / "systems.h5"))[0].count == 10
    assert [shape[0] for name, shape in taken if name == "coord.npy"] == [3, 3, 3, 1]
    assert max(shape[0] for name, shape in taken if name.endswith(".npy")) == 3


def test_a_single_frame_may_lack_its_first_dimension(tmp_path):
    folder = tmp_path / "one"
    frames, _ = read_frames(dataset(1))
    write_systems(frames, folder)
    (box,) = folder.rglob("box.npy")
    np.save(box, frames.cells.reshape(9))
    np.testing.assert_array_equal(read_frames(str(folder))[0].cells, frames.cells)
