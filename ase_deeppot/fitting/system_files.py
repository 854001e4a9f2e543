"""Files of DeePMD-kit's systems as they are written, some frames at a time: folders, or an HDF5 file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import h5py
import numpy as np


class Writer(Protocol):
    """Where the arrays of systems go."""

    def whole(self, key: str, values: np.ndarray) -> None:
        """Write an array."""
        ...

    def begin(self, key: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        """Begin an array [F, ...] whose rows are appended."""
        ...

    def append(self, key: str, values: np.ndarray) -> None:
        """Its next rows."""
        ...


@contextmanager
def folder_writer(folder: Path) -> Iterator[Writer]:
    """Writes ``folder/key``: ``.npy``, or text with a value a line."""
    yield _Folder(folder)


@contextmanager
def hdf5_writer(path: Path) -> Iterator[Writer]:
    """Writes datasets ``key`` of a new HDF5 file."""
    with h5py.File(path, "w") as file:
        yield _Hdf5(file)


class _Folder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def whole(self, key: str, values: np.ndarray) -> None:
        self._file(key).write_text("" if key.endswith("nopbc") else "".join(f"{value}\n" for value in values))

    def begin(self, key: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        with self._file(key).open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)

    def append(self, key: str, values: np.ndarray) -> None:
        with self._file(key).open("ab") as file:
            file.write(values.tobytes())

    def _file(self, key: str) -> Path:
        file = self._folder / key
        file.parent.mkdir(parents=True, exist_ok=True)
        return file


class _Hdf5:
    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._done: dict[str, int] = {}  # rows

    def whole(self, key: str, values: np.ndarray) -> None:
        self._file[key] = values.astype("S") if values.dtype.kind == "U" else values

    def begin(self, key: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._file.create_dataset(key, shape, dtype)
        self._done[key] = 0

    def append(self, key: str, values: np.ndarray) -> None:
        start = self._done[key]
        self._done[key] = start + len(values)
        self._file[key][start : self._done[key]] = values
