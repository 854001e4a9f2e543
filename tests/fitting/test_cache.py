"""The cache of read frames: what it returns, when it is read anew, and what happens to damaged files."""

import errno
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from ase_deeppot.errors import DataError
from ase_deeppot.fitting import cache, labels, sources
from ase_deeppot.fitting.conversion import write_frames
from ase_deeppot.fitting.frames import Frames
from ase_deeppot.fitting.labels import STANDARD_KEYS, KeyMapping
from ase_deeppot.fitting.sources import open_frames, read_frames


def dataset(count: int, seed: int = 0) -> list[Atoms]:
    rng = np.random.default_rng(seed)
    images = []
    for n in range(count):
        atoms = Atoms("OH"[: 1 + n % 2], rng.uniform(size=(1 + n % 2, 3)), cell=4 * np.eye(3), pbc=n % 3 > 0)
        results = {"forces": rng.normal(size=(len(atoms), 3)), "stress": rng.normal(size=6)}
        atoms.calc = SinglePointCalculator(atoms, **results, **({"energy": rng.normal()} if n % 2 else {}))
        atoms.info["other_energy"] = float(n)
        images.append(atoms)
    return images


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write(tmp_path / "set.extxyz", dataset(7))
    return tmp_path / "set.extxyz"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "cache"


def through(folder: Path, source: object, keys: KeyMapping = STANDARD_KEYS) -> tuple:
    """As ``read_frames``, by way of the cache."""
    frames, reports = open_frames(source, keys, folder, 1e9)
    return frames.select(slice(None)), reports


def assert_same(one: tuple, other: tuple) -> None:
    for name in Frames._fields:
        expected, found = getattr(one[0], name), getattr(other[0], name)
        assert type(expected) is type(found)
        if isinstance(expected, np.ndarray):
            assert (expected.dtype, expected.shape) == (found.dtype, found.shape)
            assert expected.tobytes() == found.tobytes(), name
        else:
            assert expected == found
    assert one[1] == other[1]


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the source was read")
    monkeypatch.setattr(sources, "_frames", refuse)


@pytest.mark.parametrize("selection", ["", "@:3", "@-1"])
@pytest.mark.parametrize("kind", ["extxyz", "traj", "db", "json"])
def test_a_hit_equals_a_fresh_read(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str,
                                   selection: str) -> None:
    write(tmp_path / f"set.{kind}", dataset(7))
    name = f"{tmp_path}/set.{kind}{selection}"
    fresh = read_frames(name)
    assert_same(fresh, through(folder, name))
    forbid_reading(monkeypatch)
    assert_same(fresh, through(folder, name))
    assert [path.suffix for path in folder.iterdir()] == [".h5"]


def test_the_name_is_the_one_in_use(source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    through(folder, source)
    forbid_reading(monkeypatch)
    monkeypatch.chdir(source.parent)
    frames, (report,) = through(folder, "set.ext*")
    assert frames.names == (report.name,) == ("set.extxyz",)
    assert report.hint == 'no energy under "energy" in 4 of 7 frames, found "other_energy": set keys.energy'


def test_other_content_keys_or_selection_are_read_anew(source: Path, folder: Path) -> None:
    through(folder, source)
    other = KeyMapping(energy="other_energy")
    assert_same(through(folder, source, other), read_frames(source, other))
    assert through(folder, f"{source}@:2")[0].count == 2
    stamp = source.stat()
    write(source, dataset(7, seed=1))
    os.utime(source, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # content decides, not the time
    assert_same(through(folder, source), read_frames(source))
    assert len(list(folder.iterdir())) == 4


def test_in_memory_and_uncached_reads_leave_no_files(source: Path, folder: Path) -> None:
    through(folder, dataset(2))
    read_frames(source)
    assert not folder.exists()


def damage(kind: str, good: bytes, other: bytes) -> bytes:
    return {"empty": b"", "text": b"hello", "cut": good[:-100], "longer": good + b"x", "halved": good[: len(good) // 2],
            "another source's": other}[kind]


@pytest.mark.parametrize("kind", ["empty", "text", "cut", "longer", "halved", "another source's"])
def test_damaged_files_are_reported_once_and_made_anew(source: Path, folder: Path, kind: str) -> None:
    fresh = through(folder, source)
    file = next(folder.iterdir())
    good = file.read_bytes()
    through(folder, f"{source}@:2")
    other = next(path for path in folder.iterdir() if path != file).read_bytes()
    file.write_bytes(damage(kind, good, other))
    with pytest.warns(UserWarning, match=r"cache file .* is damaged, reading .* again: ") as caught:
        assert_same(fresh, through(folder, source))
    assert len(caught) == 1
    assert_same(fresh, through(folder, source))  # without a warning, which would be an error


def test_every_flipped_bit_is_noticed(source: Path, folder: Path) -> None:
    through(folder, source)
    file = next(folder.iterdir())
    good = file.read_bytes()
    key = good[:64].decode()
    assert cache.load(folder, source, key) is not None
    rng = np.random.default_rng(0)
    for position in [0, 64, 65, 129, 130, 511, 512, len(good) - 1, *rng.integers(len(good), size=50)]:
        bad = bytearray(good)
        bad[position] ^= 1 << int(rng.integers(8))
        file.write_bytes(bad)
        with pytest.warns(UserWarning, match="is damaged"):
            assert cache.load(folder, source, key) is None


def test_a_folder_that_cannot_be_written_costs_a_warning(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.warns(UserWarning, match=r"cannot keep a copy of .*; going on without") as caught:
            assert_same(through(folder, source), read_frames(source))
        assert len(caught) == 1


def test_a_full_disk_leaves_nothing_behind(source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(UserWarning, match="No space left on device"):
        assert_same(through(folder, source), read_frames(source))
    assert list(folder.iterdir()) == []


def test_a_source_that_grows_while_it_is_read_is_not_kept(source: Path, folder: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    frame_of = labels.frame_of

    def growing(*arguments):
        write(source, dataset(8))
        return frame_of(*arguments)
    monkeypatch.setattr(labels, "frame_of", growing)
    through(folder, source)
    assert list(folder.iterdir()) == []


def test_the_fingerprint_sees_rows_that_sqlite_has_not_merged(tmp_path: Path) -> None:
    path = tmp_path / "set.db"
    path.write_bytes(b"rows")
    before = cache.fingerprint(path)
    (tmp_path / "set.db-wal").write_bytes(b"latest rows")
    assert cache.fingerprint(path) != before


def test_a_source_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected a file that can be read, got .*No such file"):
        cache.fingerprint(tmp_path / "missing.traj")


def test_no_warning_where_all_is_well(source: Path, folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            through(folder, source)


FULL_DISK = """
import resource, signal, sys, warnings
from ase_deeppot.fitting.labels import STANDARD_KEYS
from ase_deeppot.fitting.sources import open_frames
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
warnings.simplefilter("ignore")
print(open_frames(sys.argv[1], STANDARD_KEYS, __import__("pathlib").Path(sys.argv[2]), float(sys.argv[3]))[0].count)
"""


@pytest.mark.skipif(os.name == "nt", reason="the limit on the size of a file is POSIX's")
@pytest.mark.parametrize(("memory", "said"), [("1e9", "7"), ("60", "its frames need more than data.memory")])
def test_a_write_that_fails_half_way_is_survived(source: Path, folder: Path, memory: str, said: str) -> None:
    """HDF5 would crash at the end of the process."""
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(source), str(folder), memory], capture_output=True,
                          text=True)
    assert said in done.stdout + done.stderr
    assert done.returncode == (0 if said == "7" else 1)
    assert list(folder.iterdir()) == []


def test_systems_are_kept_too(source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_frames(read_frames(source)[0], source.parent / "systems")
    fresh = through(folder, source.parent / "systems")
    forbid_reading(monkeypatch)
    assert_same(fresh, through(folder, source.parent / "systems"))


def test_a_frame_is_one_short_read(tmp_path: Path, folder: Path) -> None:
    """The atoms of a large source are in uncompressed chunks, those of a small one in one that is no larger."""
    write(tmp_path / "small.traj", dataset(3))
    assert open_frames(tmp_path / "small.traj", KeyMapping(), folder, 1e9)[0].rows[0].chunks == (4, 7)
    atoms = Atoms("H300", np.random.default_rng(0).uniform(size=(300, 3)))
    atoms.calc = SinglePointCalculator(atoms, energy=0.0)
    write(tmp_path / "large.traj", [atoms] * 150)
    frames, _ = open_frames(tmp_path / "large.traj", KeyMapping(), folder, 1e9)
    assert frames.rows[0].chunks == (cache.BLOCK, 7)
    assert frames.rows[0].compression is None
    np.testing.assert_array_equal(frames.select([77]).positions, atoms.positions)
