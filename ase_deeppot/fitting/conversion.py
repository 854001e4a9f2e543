"""Labelled frames into the files of others: DeePMD-kit's systems (see ``systems``), and what ASE writes."""

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

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
from ase_deeppot.fitting.stored import AnyFrames, chunks
from ase_deeppot.fitting.system_files import Writer, folder_writer, hdf5_writer
from ase_deeppot.fitting.systems import HDF5
from ase_deeppot.structures import elements_of, symbols_of, types_of

ONE_BY_ONE = ("extxyz", "traj")  # formats that ASE writes a frame at a time
BLOCK = 1 << 14  # atoms in memory at a time

Arrays = dict[str, np.ndarray]  # by name of the file


class System(NamedTuple):
    """A DeePMD-kit system to be written."""

    name: str
    frames: np.ndarray  # [F] int64, those of all that are in it


def write_frames(frames: AnyFrames, path: str | Path, mixed: bool = False, elements: Sequence[str] = ()) -> list[str]:
    """Write structures and labels in the format that the name of the file asks for.

    Parameters
    ----------
    frames : Frames or StoredFrames
        What `read_frames` and `open_frames` give; of stored ones, some are in memory at a time, but for formats of ASE
        other than ``.extxyz``, ``.traj`` and ``.db``.
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
    type_map, systems = _type_map(frames, elements), _systems(frames, mixed)

    def make(temporary: Path) -> None:
        with (hdf5_writer if path.suffix else folder_writer)(temporary) as writer:
            for system in systems:
                _write_system(writer, frames, system, type_map, mixed)
    _in_place(path, make)
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


def _write_ase(frames: AnyFrames, temporary: Path, path: Path) -> None:
    images = (to_atoms(part.frame(k)) for part in chunks(frames, BLOCK) for k in range(part.count))
    try:
        kind = filetype(str(path), read=False)
        if kind in ("db", "json"):
            with connect(temporary, use_lock_file=False) as database:
                for atoms in images:
                    database.write(atoms)
        else:
            write(temporary, images if kind in ONE_BY_ONE else list(images), format=kind)  # type: ignore[arg-type]
    except (UnknownFileTypeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path}: expected a format of several frames that ASE writes, as .extxyz, .traj or .db, "
                        f"got {type(error).__name__}: {error}") from error


def _systems(frames: AnyFrames, mixed: bool) -> list[System]:
    """Frames that can be one system, in order of their first frame."""
    groups: dict[Any, list[int]] = {}
    for k, kind in enumerate(_kinds(frames, mixed)):
        groups.setdefault(kind, []).append(k)
    systems: dict[str, System] = {}
    for indices in groups.values():
        numbers = frames.frame(indices[0]).structure.numbers
        formula = f"atoms{len(numbers)}" if mixed else str(Formula.from_list(symbols_of(numbers)).format("hill"))
        name = next(name for name in _numbered(formula) if name not in systems)
        systems[name] = System(name, np.array(indices))
    return list(systems.values())


def _kinds(frames: AnyFrames, mixed: bool) -> Iterator[tuple[Any, ...]]:
    """What the frames of a system have in common, of each frame."""
    for part in chunks(frames, BLOCK):
        for k in range(part.count):
            frame = part.frame(k)
            numbers, _, cell, pbc = frame.structure
            if pbc.any() != pbc.all():
                raise DataError(f"{part.label(k)}: expected periodicity in all directions or in none, as DeePMD-kit "
                                f"has it, got {pbc.tolist()}")
            labels = (np.isfinite(label).all() for label in (frame.energy, frame.forces, frame.virial))
            yield (len(numbers) if mixed else hashlib.sha256(numbers.tobytes()).digest(), bool(pbc.all()),
                   bool(cell.any()), *map(bool, labels))


def _write_system(writer: Writer, frames: AnyFrames, system: System, type_map: tuple[str, ...], mixed: bool) -> None:
    members = frames.subset(system.frames)
    for number, part in enumerate(chunks(members, BLOCK)):
        arrays = _arrays(part, type_map, mixed)
        if number == 0:
            for key, values in _head(part.frame(0), type_map, mixed).items():
                writer.whole(f"{system.name}/{key}", values)
            for key, values in arrays.items():
                writer.begin(f"{system.name}/set.000/{key}.npy", (members.count, *values.shape[1:]), values.dtype)
        for key, values in arrays.items():
            writer.append(f"{system.name}/set.000/{key}.npy", values)


def _head(first: Frame, type_map: tuple[str, ...], mixed: bool) -> Arrays:
    """What the frames of a system share."""
    numbers, _, _, pbc = first.structure
    head = {"type.raw": np.zeros(len(numbers), int) if mixed else types_of(numbers, type_map),
            "type_map.raw": np.array(type_map)}
    return head if pbc.any() else head | {"nopbc": np.array([1])}


def _arrays(part: Frames, type_map: tuple[str, ...], mixed: bool) -> Arrays:
    """Rows of some frames of one system."""
    rows = {"coord": part.positions, "energy": part.energies, "force": part.forces, "virial": part.virials}
    arrays = {key: values for key, values in rows.items() if np.isfinite(values).all()}
    if part.pbc.any() or part.cells.any():
        arrays["box"] = part.cells
    if mixed:
        arrays["real_atom_types"] = types_of(part.numbers, type_map)
    return {key: values if key == "energy" else values.reshape(part.count, -1) for key, values in arrays.items()}


def _type_map(frames: AnyFrames, elements: Sequence[str]) -> tuple[str, ...]:
    present = elements_of(np.unique(np.concatenate([np.unique(part.numbers) for part in chunks(frames)])))
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
