"""Labelled frames into the files of others: DeePMD-kit's systems (see ``systems``), and what ASE writes."""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.formula import Formula
from ase.io import write
from ase.io.formats import UnknownFileTypeError, filetype
from ase.stress import full_3x3_to_voigt_6_stress

from ase_deeppot.errors import DataError
from ase_deeppot.fitting.frames import Frame, Frames
from ase_deeppot.fitting.systems import HDF5
from ase_deeppot.structures import elements_of, symbols_of

Arrays = dict[str, np.ndarray]


class System(NamedTuple):
    """A DeePMD-kit system."""

    name: str
    arrays: Arrays  # by file name


def write_frames(frames: Frames, path: str | Path, mixed: bool = False, elements: Sequence[str] = ()) -> list[str]:
    """Write structures and labels in the format that the name of the file asks for.

    Parameters
    ----------
    frames : Frames
        What `read_frames` gives.
    path : str or Path
        ``.extxyz``, ``.traj``, ``.db`` or another format of ASE; ``.h5`` or ``.hdf5`` for DeePMD-kit's systems in an
        HDF5 file; without a suffix, a folder of DeePMD-kit's systems. Must not exist.
    mixed : bool
        Systems of mixed type: one for each number of atoms, instead of one for each sequence of elements.
    elements : sequence of str
        Order of the types in systems; by default by atomic number.

    Returns
    -------
    list of str
        The systems that were written; empty for formats of ASE.

    Raises
    ------
    DataError
        If the file exists, ASE cannot write it, frames are periodic in some directions only and cannot be a system, or
        an element is missing in ``elements``. Nothing is written then.
    """
    path = Path(path)
    if path.exists():
        raise DataError(f"{path}: expected a name that is free, got one that exists: remove it, or choose another")
    if path.suffix and path.suffix.lower() not in HDF5:
        _in_place(path, lambda temporary: _write_ase(frames, temporary, path))
        return []
    systems = list(_systems(frames, mixed, elements))
    _in_place(path, lambda temporary: (_write_hdf5 if path.suffix else _write_folder)(systems, temporary))
    return [system.name for system in systems]


def _in_place(path: Path, make: Callable[[Path], None]) -> None:
    """Make a file or folder under another name first."""
    temporary = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        make(temporary)
        os.rename(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        temporary.unlink(missing_ok=True)


def to_atoms(frame: Frame) -> Atoms:
    """A frame as ASE has it: a virial as stress, in ``info`` where there is no volume; a weight in ``info``."""
    numbers, positions, cell, pbc = frame.structure
    atoms = Atoms(numbers, positions, cell=cell, pbc=pbc)
    results: dict[str, Any] = {}
    if np.isfinite(frame.energy):
        results["energy"] = frame.energy
    if np.isfinite(frame.forces).all():
        results["forces"] = frame.forces
    if np.isfinite(frame.virial).all():
        if frame.structure.volume > 0:
            results["stress"] = full_3x3_to_voigt_6_stress(frame.virial / -frame.structure.volume)
        else:
            atoms.info["virial"] = frame.virial
    if frame.weight != 1.0:
        atoms.info["weight"] = frame.weight
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def _write_ase(frames: Frames, temporary: Path, path: Path) -> None:
    images = [to_atoms(frames.frame(k)) for k in range(frames.count)]
    try:
        kind = filetype(str(path), read=False)
        if kind in ("db", "json"):
            with connect(temporary, use_lock_file=False) as database:
                for atoms in images:
                    database.write(atoms)
        else:
            write(temporary, images, format=kind)
    except (UnknownFileTypeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path}: expected a format of several frames that ASE writes, as .extxyz, .traj or .db, "
                        f"got {type(error).__name__}: {error}") from error


def _systems(frames: Frames, mixed: bool, elements: Sequence[str]) -> Iterator[System]:
    """Frames that can be one system, in order of their first frame."""
    names = _type_map(frames, elements)
    groups: dict[Any, list[int]] = {}
    for k in range(frames.count):
        groups.setdefault(_kind(frames, k, mixed), []).append(k)
    taken: set[str] = set()
    for indices in groups.values():
        first = frames.frame(indices[0])
        formula = f"atoms{len(first.structure.numbers)}" if mixed else str(Formula.from_list(
            symbols_of(first.structure.numbers)).format("hill"))
        name = next(name for name in _numbered(formula) if name not in taken)
        taken.add(name)
        yield System(name, _arrays([frames.frame(k) for k in indices], names, mixed))


def _kind(frames: Frames, k: int, mixed: bool) -> tuple[Any, ...]:
    """What the frames of a system have in common."""
    frame = frames.frame(k)
    numbers, _, cell, pbc = frame.structure
    if pbc.any() != pbc.all():
        raise DataError(f"{frames.label(k)}: expected periodicity in all directions or in none, as DeePMD-kit has it, "
                        f"got {pbc.tolist()}")
    labels = (np.isfinite(label).all() for label in (frame.energy, frame.forces, frame.virial))
    return len(numbers) if mixed else numbers.tobytes(), bool(pbc.all()), bool(cell.any()), *map(bool, labels)


def _arrays(frames: Sequence[Frame], type_map: Sequence[str], mixed: bool) -> Arrays:
    """What one system consists of."""
    structures, first = [frame.structure for frame in frames], frames[0]
    types = np.array([[type_map.index(symbol) for symbol in symbols_of(s.numbers)] for s in structures])
    count, (numbers, _, cell, pbc) = len(frames), first.structure
    arrays = {"type.raw": np.zeros(len(numbers), int) if mixed else types[0], "type_map.raw": np.array(type_map),
              "set.000/coord.npy": np.stack([s.positions for s in structures]).reshape(count, -1)}
    if pbc.any() or cell.any():
        arrays["set.000/box.npy"] = np.stack([s.cell for s in structures]).reshape(count, 9)
    if not pbc.any():
        arrays["nopbc"] = np.array([1])
    if mixed:
        arrays["set.000/real_atom_types.npy"] = types
    labels = {"energy": np.array([frame.energy for frame in frames]),
              "force": np.stack([frame.forces for frame in frames]).reshape(count, -1),
              "virial": np.stack([frame.virial for frame in frames]).reshape(count, 9)}
    return arrays | {f"set.000/{key}.npy": value for key, value in labels.items() if np.isfinite(value).all()}


def _type_map(frames: Frames, elements: Sequence[str]) -> tuple[str, ...]:
    present = elements_of(frames.numbers)
    missing = [symbol for symbol in present if symbol not in elements]
    if elements and missing:
        raise DataError(f"expected all elements of the frames among {', '.join(elements)}, got {', '.join(missing)}")
    return tuple(elements) or present


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1


def _write_folder(systems: Sequence[System], folder: Path) -> None:
    for system in systems:
        for key, values in system.arrays.items():
            file = folder / system.name / key
            file.parent.mkdir(parents=True, exist_ok=True)
            if file.suffix == ".npy":
                np.save(file, values)
            else:
                file.write_text("" if key == "nopbc" else "".join(f"{value}\n" for value in values))


def _write_hdf5(systems: Sequence[System], path: Path) -> None:
    with h5py.File(path, "w") as file:
        for system in systems:
            for key, values in system.arrays.items():
                file[f"{system.name}/{key}"] = values.astype("S") if values.dtype.kind == "U" else values
