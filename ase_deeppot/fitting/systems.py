"""DeePMD-kit's systems: folders, or groups of an HDF5 file, of arrays.

A system has ``type.raw`` (the type of each atom), ``type_map.raw`` (the element of each type), perhaps ``nopbc``, and
sets ``set.000``, ``set.001``, ... of frames: ``coord.npy`` [F, 3 N], ``box.npy`` [F, 9], and the labels ``energy.npy``
[F], ``force.npy`` [F, 3 N] and ``virial.npy`` [F, 9], eV and A. A system of mixed type has types by frame beside, in
``real_atom_types.npy`` [F, N], negative where a place is empty. Their virial is -dE/dstrain = -V * stress.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from ase_deeppot.errors import DataError
from ase_deeppot.structures import unknown_symbols

HDF5 = (".h5", ".hdf5")
BLOCK = 1 << 14  # atoms whose numbers are in memory at a time
ASYMMETRY = 0.01  # of the largest component of a virial; more is no rounding


class Rows(Protocol):
    """An array of which some rows are read at a time: an HDF5 dataset, an array in memory, or :class:`_Npy`."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Those rows."""
        ...


class Store(Protocol):
    """Where the arrays of a system are."""

    name: str

    def read(self, key: str) -> np.ndarray | None:
        """An array, or None where there is none."""
        ...

    def rows(self, key: str) -> Rows | None:
        """An array with a row for each frame, or None where there is none."""
        ...

    def sets(self) -> list[str]:
        """Names of the sets, in order."""
        ...


class _Npy:
    """A file of NumPy's, mapped into memory only while rows are taken from it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        whole = self._whole()
        self.shape, self.dtype = whole.shape, whole.dtype

    def __getitem__(self, rows: Any) -> np.ndarray:
        return np.array(self._whole()[rows])

    def _whole(self) -> np.ndarray:
        array: np.ndarray = np.load(self._path, mmap_mode="r")
        return array


class _Folder:
    def __init__(self, path: Path) -> None:
        self.path, self.name = path, str(path)

    def read(self, key: str) -> np.ndarray | None:
        path = self.path / key
        return np.array(path.read_text().split()) if path.exists() else None

    def rows(self, key: str) -> Rows | None:
        path = self.path / key
        return _Npy(path) if path.exists() else None

    def sets(self) -> list[str]:
        return sorted(path.name for path in self.path.glob("set.*") if path.is_dir())


class _Group:
    def __init__(self, group: h5py.Group) -> None:
        self.group, self.name = group, f"{group.file.filename}{group.name}"

    def read(self, key: str) -> np.ndarray | None:
        if key not in self.group:
            return None
        values = np.atleast_1d(np.asarray(self.group[key]))
        return values if values.dtype.kind in "biuf" else np.array([_text(value) for value in values.reshape(-1)])

    def rows(self, key: str) -> Rows | None:
        return self.group.get(key)

    def sets(self) -> list[str]:
        return sorted(name for name in self.group if name.startswith("set."))


def is_system(path: Path) -> bool:
    """Whether there is a system at this path or below, or it is an HDF5 file."""
    if path.is_dir():
        return next(path.rglob("type.raw"), None) is not None
    return path.suffix.lower() in HDF5 and path.is_file()


def read_systems(path: Path) -> Iterator[Atoms]:
    """Frames of all systems at this path and below, with the labels that they have.

    Raises
    ------
    DataError
        If there is no system, or one is not as described; the message names it.
    """
    if path.is_dir():
        for kind in sorted(path.rglob("type.raw")):
            yield from _frames(_Folder(kind.parent))
        return
    with h5py.File(path, "r") as file:
        names = ["/"] if "type.raw" in file else []
        file.visit(lambda name: names.append(name.removesuffix("/type.raw")) if name.endswith("/type.raw") else None)
        if not names:
            raise DataError(f"{path}: expected DeePMD-kit systems in an HDF5 file, got none with type.raw")
        for name in sorted(names):
            yield from _frames(_Group(file[name]))


def _frames(store: Store) -> Iterator[Atoms]:
    types = _integers(store.read("type.raw"), store.name)
    elements = _elements(store)
    periodic = store.read("nopbc") is None
    if not store.sets():
        raise DataError(f"{store.name}: expected sets of frames as set.000, got none")
    for name in store.sets():
        yield from _set(store, name, types, elements, periodic)


def _set(store: Store, name: str, types: np.ndarray, elements: np.ndarray, periodic: bool) -> Iterator[Atoms]:
    where = f"{store.name}/{name}".replace("//", "/")
    found = _arrays(store, name, len(types), where)
    if "box" not in found and periodic:
        raise DataError(f"{where}: expected box.npy of a periodic system, got none; without periodicity, expected a "
                        "file nopbc")
    count, block = found["coord"].count, max(1, BLOCK // max(1, len(types)))
    for start in range(0, count, block):
        part = {key: rows[slice(start, min(count, start + block))] for key, rows in found.items()}
        for k in range(len(part["coord"])):
            frame = {key: values[k] for key, values in part.items()}
            yield _frame(frame, types, elements, periodic, f"{where} frame {start + k}")


def _arrays(store: Store, name: str, atoms: int, where: str) -> dict[str, "_Checked"]:
    """Those that a set has, checked."""
    coordinates = store.rows(f"{name}/coord.npy")
    if coordinates is None:
        raise DataError(f"{where}: expected coord.npy, got none")
    shapes: dict[str, tuple[int, ...]] = {"coord": (atoms, 3), "box": (3, 3), "real_atom_types": (atoms,),
                                          "energy": (), "force": (atoms, 3), "virial": (3, 3)}
    return {key: _Checked(rows, (coordinates.shape[0], *shape), f"{where}/{key}.npy") for key, shape in shapes.items()
            if (rows := store.rows(f"{name}/{key}.npy")) is not None}


class _Checked:
    """Rows of numbers that have the shape that they should have."""

    def __init__(self, rows: Rows, shape: tuple[int, ...], where: str) -> None:
        if rows.dtype.kind not in "iuf" or np.prod(rows.shape) != np.prod(shape):
            raise DataError(f"{where}: expected numbers of shape {shape}, got {rows.dtype} of shape {rows.shape}")
        self._rows = rows if rows.shape[:1] == shape[:1] else rows[...].reshape(shape)  # [9] instead of [1, 9]
        self._shape, self.count = shape, shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self._rows[rows].reshape(-1, *self._shape[1:]).astype(np.float64)


def _frame(values: dict[str, np.ndarray], types: np.ndarray, elements: np.ndarray, periodic: bool,
           where: str) -> Atoms:
    """One structure, with the labels that it has."""
    kinds = values.pop("real_atom_types", types).astype(int)
    largest = int(kinds.max(initial=-1))
    if largest >= len(elements):
        raise DataError(f"{where}: expected types below {len(elements)}, the number of elements in type_map.raw, "
                        f"got {largest}")
    real = kinds >= 0
    frame = Atoms(elements[kinds[real]], values.pop("coord")[real], cell=values.pop("box", np.zeros((3, 3))),
                  pbc=periodic)
    _attach(frame, values, real, where)
    return frame


def _attach(frame: Atoms, labels: dict[str, np.ndarray], real: np.ndarray, where: str) -> None:
    """Labels as ASE has them: where there is a volume, the virial is a stress."""
    results: dict[str, Any] = {}
    if "energy" in labels:
        results["energy"] = float(labels["energy"])
    if "force" in labels:
        results["forces"] = labels["force"][real]
    if "virial" in labels:
        virial = labels["virial"]
        if np.abs(virial - virial.T).max() > ASYMMETRY * np.abs(virial).max() + 1e-4:
            raise DataError(f"{where}: expected a symmetric virial, got {virial.tolist()}")
        if frame.cell.rank == 3:
            results["stress"] = full_3x3_to_voigt_6_stress((virial + virial.T) / (-2.0 * frame.get_volume()))
        else:
            frame.info["virial"] = virial
    if results:
        frame.calc = SinglePointCalculator(frame, **results)


def _elements(store: Store) -> np.ndarray:
    names = store.read("type_map.raw")
    if names is None:
        raise DataError(f"{store.name}: expected type_map.raw with the element of each type, got none: write one, as "
                        "'O H'")
    unknown = unknown_symbols([str(name) for name in names])
    if unknown:
        raise DataError(f"{store.name}: expected chemical symbols in type_map.raw, got {' '.join(unknown)}")
    return np.array([str(name) for name in names])


def _integers(values: np.ndarray | None, where: str) -> np.ndarray:
    try:
        return np.asarray(values).reshape(-1).astype(np.int64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: expected whole numbers in type.raw, got {error}") from error


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
