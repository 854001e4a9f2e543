"""A flat HDF5 copy of what was read from a source, found again by the content of the source.

One file a source, with the arrays of all frames end to end and their offsets: never a group a frame. It may
be deleted at any time. What is damaged or belongs to something else is reported and read anew.
"""

import hashlib
import json
import os
import tempfile
import warnings
import zlib
from pathlib import Path

import ase
import h5py
import numpy as np

from ase_deeppot.fitting.frames import Frames

FORMAT = 1  # raise it when the arrays, or how labels are read into them, change
ARRAYS = ("numbers", "positions", "forces", "cells", "pbc", "energies", "virials", "offsets")


def fingerprint(path: Path, *settings: object) -> str:
    """Digest of a source: its name and bytes, how it is read (JSON values), ASE's version and our format."""
    files = [path, path.with_name(path.name + "-wal")]  # sqlite keeps the latest rows in the second
    contents = []
    for file in files:
        if file.exists():
            with file.open("rb") as stream:
                contents.append(hashlib.file_digest(stream, "sha256").hexdigest())
    text = json.dumps([FORMAT, ase.__version__, path.name, contents, settings])
    return hashlib.sha256(text.encode()).hexdigest()


def load(folder: Path, path: Path, key: str) -> tuple[Frames, str] | None:
    """Frames and hint kept for fingerprint ``key``, None if there are none; warns if they are damaged."""
    file = _cache_file(folder, path, key)
    if not file.exists():
        return None
    try:
        return _read(file, key, str(path))
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        warnings.warn(f"cache file {file} is damaged, reading {path} again: {error}", stacklevel=2)
        return None


def store(folder: Path, path: Path, key: str, frames: Frames, hint: str) -> None:
    """Keep the frames of one source; where that fails, warn and go on without."""
    temporary = ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(suffix=".tmp", dir=folder)
        os.close(handle)
        _write(temporary, key, frames, hint)
        os.replace(temporary, _cache_file(folder, path, key))
    except (OSError, RuntimeError) as error:
        warnings.warn(f"cannot keep a cache of {path} in {folder}, going on without: {error}", stacklevel=2)
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def _cache_file(folder: Path, path: Path, key: str) -> Path:
    return folder / f"{path.stem}-{key[:16]}.h5"


def _write(file: str, key: str, frames: Frames, hint: str) -> None:
    with h5py.File(file, "w") as group:
        group.attrs["key"] = key
        arrays = {name: getattr(frames, name) for name in ARRAYS}
        arrays["hint"] = np.frombuffer(hint.encode(), dtype=np.uint8)
        for name, array in arrays.items():
            group.create_dataset(name, data=array).attrs["crc32"] = _checksum(array)
    with open(file, "rb+") as stream:
        os.fsync(stream.fileno())


def _read(file: Path, key: str, name: str) -> tuple[Frames, str]:
    # Cache files are replaced whole, never changed: no lock is needed, and some file systems have none.
    with h5py.File(file, "r", locking=False) as group:
        if group.attrs["key"] != key:
            raise ValueError("it belongs to another source")
        arrays = {field: group[field][:] for field in (*ARRAYS, "hint")}
        for field, array in arrays.items():
            if _checksum(array) != group[field].attrs["crc32"]:
                raise ValueError(f"checksum of '{field}' is wrong")
    hint = arrays.pop("hint").tobytes().decode()
    count = len(arrays["energies"])
    frames = Frames(**arrays, source=np.zeros(count, dtype=np.int64), names=(name,),
                    origin=np.arange(count, dtype=np.int64))
    return frames, hint


def _checksum(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array), zlib.crc32(f"{array.dtype} {array.shape}".encode()))
