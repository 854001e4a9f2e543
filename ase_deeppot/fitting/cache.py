"""A flat HDF5 copy of what was read from a source, found again by the content of the source.

One file a source, with the arrays of all frames end to end and their offsets: never a group a frame. The atoms are
rows of one dataset in large uncompressed chunks, so that the atoms of any frame are one short read, or two. It may be
deleted at any time. What is damaged or belongs to something else is reported and read anew.
"""

import hashlib
import json
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import ase
import h5py
import numpy as np

from ase_deeppot.errors import DataError
from ase_deeppot.files import replacing
from ase_deeppot.fitting.frames import Frame, pack
from ase_deeppot.fitting.stored import COLUMNS, StoredFrames, rows_of
from ase_deeppot.fitting.tally import SourceReport

FORMAT = 3  # raise it when the arrays, or how labels are read into them, change
USER_BLOCK = 512  # bytes before the HDF5 data, which HDF5 leaves to us (its smallest size)
OF_FRAMES = ("cells", "pbc", "energies", "virials", "weights")
BLOCK = 1 << 14  # atoms, of 56 bytes each: in a chunk of the file, and in memory while it is written


class Kept(NamedTuple):
    """The frames of a source in its cache file, and what was found in it."""

    frames: StoredFrames
    report: SourceReport


def fingerprint(path: Path, *settings: object) -> str:
    """Digest of a source: its name and bytes, how it is read (JSON values), ASE's version and our format.

    Raises
    ------
    DataError
        If the file, or one in the folder, cannot be read.
    """
    newest = path.with_name(path.name + "-wal")  # where sqlite may keep the latest rows
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    try:
        contents = [_digest(file) for file in (*files, *([newest] if newest.exists() else []))]
    except OSError as error:
        raise DataError(f"{path}: expected a file that can be read, got {error}") from error
    names = [file.relative_to(path.parent).as_posix() for file in files]
    text = json.dumps([FORMAT, ase.__version__, names, contents, settings])
    return hashlib.sha256(text.encode()).hexdigest()


def load(folder: Path, path: Path, key: str) -> Kept | None:
    """What is kept for fingerprint ``key``, None if there is nothing; warns if it is damaged."""
    file = _cache_file(folder, path, key)
    if not file.exists():
        return None
    try:
        _check(file, key)
        return _open(file)
    except (OSError, KeyError, ValueError) as error:
        warnings.warn(f"cache file {file} is damaged, reading {path} again: {error}", stacklevel=2)
        return None


def store(folder: Path, path: Path, key: str, frames: Iterable[Frame], report: Callable[[], SourceReport],
          unchanged: Callable[[], bool]) -> Kept:
    """Write the frames of one source as they come, and open the file.

    Parameters
    ----------
    report : callable
        Says what was found when all frames have come; it may raise, and nothing is kept then.
    unchanged : callable
        Whether the source is still the same; if not, the file is gone as soon as the frames are let go of.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = _cache_file(folder, path, key)
    with replacing(target) as file, open(file.fileno(), "r+b", buffering=0, closefd=False) as raw:
        _write(raw, frames, report)
        same = unchanged()
        raw.seek(USER_BLOCK)
        digest = hashlib.file_digest(raw, "sha256").hexdigest()
        raw.seek(0)
        raw.write(_header(key if same else 64 * "0", digest))
    kept = _open(target)
    if not same:
        target.unlink()  # what is open can still be read
    return kept


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _cache_file(folder: Path, path: Path, key: str) -> Path:
    return folder / f"{path.stem}-{key[:16]}.h5"


def _header(key: str, digest: str) -> bytes:
    """What the user block must hold: the source's fingerprint and the digest of all that follows."""
    return f"{key} {digest}\n".encode().ljust(USER_BLOCK, b"\0")


class _Guarded:
    """A file for HDF5, which crashes at exit where a write failed: it is told of none, and we look ourselves."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.error: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, data: memoryview) -> int:
        left = memoryview(data).cast("B")
        try:
            while self.error is None and len(left):
                left = left[self.file.write(left) :]
        except OSError as error:
            self.error = error
        return len(data)

    def truncate(self, size: int) -> int:
        try:
            self.file.truncate(size)
        except OSError as error:
            self.error = self.error or error
        return size


def _write(raw: Any, frames: Iterable[Frame], report: Callable[[], SourceReport]) -> None:
    guarded = _Guarded(raw)
    columns: dict[str, list[np.ndarray]] = {name: [] for name in (*OF_FRAMES, "sizes")}
    with h5py.File(guarded, "w", userblock_size=USER_BLOCK) as group:
        for block in _blocks(frames):
            packed = pack(block, "")
            _append(group, rows_of(packed))
            if guarded.error:
                raise guarded.error
            columns["sizes"].append(np.diff(packed.offsets))
            for name in OF_FRAMES:
                columns[name].append(getattr(packed, name))
        group.attrs["report"] = json.dumps(report())
        for name, parts in columns.items():
            group[name] = np.concatenate(parts)
    if guarded.error:
        raise guarded.error


def _append(group: h5py.File, rows: np.ndarray) -> None:
    if "atoms" not in group:
        group.create_dataset("atoms", data=rows, maxshape=(None, COLUMNS), chunks=(min(len(rows), BLOCK), COLUMNS))
        return
    atoms = group["atoms"]
    atoms.resize(len(atoms) + len(rows), axis=0)
    atoms[-len(rows) :] = rows


def _blocks(frames: Iterable[Frame]) -> Iterator[list[Frame]]:
    """Frames with about ``BLOCK`` atoms together."""
    block: list[Frame] = []
    atoms = 0
    for frame in frames:
        block.append(frame)
        atoms += len(frame.forces)
        if atoms >= BLOCK:
            yield block
            block, atoms = [], 0
    if block:
        yield block


def _check(file: Path, key: str) -> None:
    """HDF5 may hang or take all memory on a damaged file: it gets to see sound ones only."""
    with file.open("rb") as stream:
        header = stream.read(USER_BLOCK)
        if header != _header(key, hashlib.file_digest(stream, "sha256").hexdigest()):
            raise ValueError("its checksum is wrong, or it belongs to another source")


def _open(file: Path) -> Kept:
    # Cache files are replaced whole, never changed: no lock is needed, and some file systems have none. Without a
    # cache of chunks, the rows of a frame are read, and no more.
    group = h5py.File(file, "r", locking=False, rdcc_nbytes=0)
    columns = {name: group[name][:] for name in OF_FRAMES}
    found = SourceReport(*json.loads(group.attrs["report"]))
    offsets = np.concatenate([[0], np.cumsum(group["sizes"][:])]).astype(np.int64)
    count = len(offsets) - 1
    frames = StoredFrames((group["atoms"],), offsets[:-1], **columns, offsets=offsets,
                          source=np.zeros(count, dtype=np.int64), names=(found.name,),
                          origin=np.arange(count, dtype=np.int64))
    return Kept(frames, found._replace(elements=tuple(found.elements)))
