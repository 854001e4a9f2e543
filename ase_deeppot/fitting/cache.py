"""A flat HDF5 copy of what was read from a source, found again by the content of the source.

One file a source, with the arrays of all frames end to end and their offsets: never a group a frame. It may
be deleted at any time. What is damaged or belongs to something else is reported and read anew.
"""

import hashlib
import io
import json
import warnings
from pathlib import Path

import ase
import h5py
import numpy as np

from ase_deeppot.errors import DataError
from ase_deeppot.files import write_atomically
from ase_deeppot.fitting.frames import Frames

FORMAT = 2  # raise it when the arrays, or how labels are read into them, change
USER_BLOCK = 512  # bytes before the HDF5 data, which HDF5 leaves to us (its smallest size)
ARRAYS = ("numbers", "positions", "forces", "cells", "pbc", "energies", "virials", "weights", "offsets")


def fingerprint(path: Path, *settings: object) -> str:
    """Digest of a source: its name and bytes, how it is read (JSON values), ASE's version and our format.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    newest = path.with_name(path.name + "-wal")  # where sqlite may keep the latest rows
    try:
        contents = [_digest(file) for file in (path, newest) if file.exists()]
    except OSError as error:
        raise DataError(f"{path}: expected a file that can be read, got {error}") from error
    text = json.dumps([FORMAT, ase.__version__, path.name, contents, settings])
    return hashlib.sha256(text.encode()).hexdigest()


def load(folder: Path, path: Path, key: str) -> tuple[Frames, str] | None:
    """Frames and hint kept for fingerprint ``key``, None if there are none; warns if they are damaged."""
    file = _cache_file(folder, path, key)
    if not file.exists():
        return None
    try:
        return _read(file, key, str(path))
    except (OSError, KeyError, ValueError) as error:
        warnings.warn(f"cache file {file} is damaged, reading {path} again: {error}", stacklevel=2)
        return None


def store(folder: Path, path: Path, key: str, frames: Frames, hint: str) -> None:
    """Keep the frames of one source; where that fails, warn and go on without."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(_cache_file(folder, path, key), _content(key, frames, hint))
    except OSError as error:
        warnings.warn(f"cannot keep a cache of {path} in {folder}, going on without: {error}", stacklevel=2)


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _cache_file(folder: Path, path: Path, key: str) -> Path:
    return folder / f"{path.stem}-{key[:16]}.h5"


def _content(key: str, frames: Frames, hint: str) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=USER_BLOCK) as group:
        group.attrs["hint"] = hint
        for name in ARRAYS:
            group[name] = getattr(frames, name)
    data = buffer.getbuffer()[USER_BLOCK:]
    return b"".join([_header(key, hashlib.sha256(data).hexdigest()), data])


def _header(key: str, digest: str) -> bytes:
    """What the user block must hold: the source's fingerprint and the digest of all that follows."""
    return f"{key} {digest}\n".encode().ljust(USER_BLOCK, b"\0")


def _read(file: Path, key: str, name: str) -> tuple[Frames, str]:
    # HDF5 may hang or take all memory on a damaged file: it gets to see sound ones only.
    with file.open("rb") as stream:
        header = stream.read(USER_BLOCK)
        if header != _header(key, hashlib.file_digest(stream, "sha256").hexdigest()):
            raise ValueError("its checksum is wrong, or it belongs to another source")
    # Cache files are replaced whole, never changed: no lock is needed, and some file systems have none.
    with h5py.File(file, "r", locking=False) as group:
        arrays = {field: group[field][:] for field in ARRAYS}
        hint = str(group.attrs["hint"])
    count = len(arrays["energies"])
    frames = Frames(**arrays, source=np.zeros(count, dtype=np.int64), names=(name,),
                    origin=np.arange(count, dtype=np.int64))
    return frames, hint
