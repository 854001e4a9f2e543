"""Training data from whatever ASE reads, from DeePMD-kit's systems, and from lists of Atoms."""

import glob
import math
import os
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from ase import Atoms

from ase_deeppot.errors import DataError, StructureError
from ase_deeppot.fitting import cache as frame_cache
from ase_deeppot.fitting import labels
from ase_deeppot.fitting.cache import Kept
from ase_deeppot.fitting.frames import Frame, Frames, concatenate, pack
from ase_deeppot.fitting.labels import STANDARD_KEYS, KeyMapping
from ase_deeppot.fitting.readers import images
from ase_deeppot.fitting.stored import COLUMNS, StoredFrames, in_memory, join
from ase_deeppot.fitting.systems import is_system
from ase_deeppot.fitting.tally import SourceReport, Tally
from ase_deeppot.structures import Structure, from_atoms

SLICE = re.compile(r"-?\d+|(-?\d*):(-?\d*)(:(-?\d*))?")
IN_MEMORY = "Atoms in memory"

Source = str | os.PathLike[str] | Atoms


class _Opened(NamedTuple):
    """One source to read: a file and what to take of it, or Atoms."""

    name: str
    path: Path | None
    selection: slice | str  # of the frames, or a database query
    atoms: tuple[Atoms, ...]


def read_frames(sources: Source | Iterable[Source],
                keys: KeyMapping = STANDARD_KEYS) -> tuple[Frames, tuple[SourceReport, ...]]:
    """Read labelled frames from files, databases and Atoms into memory.

    Parameters
    ----------
    sources : path, str, Atoms, or several of them
        A str may hold wildcards (every match is a source of its own, in alphabetical order) and end in ASE's
        ``@slice``, as ``water.extxyz@:100`` or ``@-1``, or for a database in ``@selection``, as
        ``water.db@natoms=9``. A file whose name contains these characters goes before. Neighbouring Atoms of
        a list are one source. A folder stands for the DeePMD-kit systems in it.
    keys : KeyMapping
        Names of the labels. A label that a frame lacks is NaN in the result.

    Returns
    -------
    Frames, tuple of SourceReport

    Raises
    ------
    DataError
        For a source that cannot be found or read, is empty, or has no label at all; for a frame without
        atoms, or with wrong shapes, or numbers that are not finite. The message names source and frame.
    """
    read = [_read(one, keys) for one in _opened(sources)]
    return concatenate([frames for frames, _ in read]), tuple(report for _, report in read)


def open_frames(sources: Source | Iterable[Source], keys: KeyMapping, cache: Path,
                memory: float) -> tuple[StoredFrames, tuple[SourceReport, ...]]:
    """As :func:`read_frames`, by way of a copy of each file that is kept in the folder ``cache``.

    No more than some frames of a file are in memory at a time. Where a copy cannot be written, a warning says so, and
    the frames are taken into memory, if they need no more than ``memory`` bytes.
    """
    kept = [_kept(one, keys, cache, memory) for one in _opened(sources)]
    return join([frames for frames, _ in kept]), tuple(report for _, report in kept)


def open_for_now(sources: Source | Iterable[Source],
                 keys: KeyMapping = STANDARD_KEYS) -> tuple[StoredFrames, tuple[SourceReport, ...]]:
    """As :func:`open_frames`, with copies in the system's folder for temporary files that go with the frames."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # files that are open may be deleted
        return open_frames(sources, keys, Path(folder), math.inf)


def read_structures(sources: Source | Iterable[Source]) -> Iterator[tuple[str, Structure]]:
    """Each structure of sources as in :func:`read_frames`, labelled or not, and what it is called in messages.

    Raises
    ------
    DataError
        For a source that cannot be found or read.
    StructureError
        For positions or a cell that cannot be; the message names source and frame.
    """
    for source in _opened(sources):
        for index, atoms in enumerate(_images(source)):
            where = f"{source.name} frame {index}"
            try:
                structure = from_atoms(atoms)
            except StructureError as error:
                raise StructureError(f"{where}: {error}") from error
            yield where, structure


def _opened(sources: Source | Iterable[Source]) -> list[_Opened]:
    opened = [one for source in _listed(sources) for one in _open(source)]
    if not opened:
        raise DataError("expected at least one source of frames, got none")
    return opened


def _listed(sources: Source | Iterable[Source]) -> list[str | tuple[Atoms, ...]]:
    """The sources as text or runs of neighbouring Atoms."""
    single = isinstance(sources, str | os.PathLike | Atoms) or not isinstance(sources, Iterable)
    items: list[Any] = [sources] if single else list(sources)  # type: ignore[arg-type]
    for item in items:
        if not isinstance(item, str | os.PathLike | Atoms):
            raise DataError(f"expected a path or ase.Atoms as source, got {type(item).__name__}")
    listed: list[str | tuple[Atoms, ...]] = []
    for are_atoms, group in groupby(items, key=lambda item: isinstance(item, Atoms)):
        run: Any = tuple(group)
        listed.extend([run] if are_atoms else map(os.fspath, run))
    return listed


def _open(source: str | tuple[Atoms, ...]) -> list[_Opened]:
    """Find the files that one entry stands for."""
    if isinstance(source, tuple):
        return [_Opened(IN_MEMORY, None, slice(None), source)]
    whole = Path(source).expanduser()
    if whole.exists():
        return [_Opened(source, whole, slice(None), ())]
    text, at, suffix = source.rpartition("@") if "@" in source else (source, "", "")
    selection = _selection(suffix, source) if at else slice(None)
    pattern = os.path.expanduser(text)
    if Path(pattern).exists():
        return [_Opened(source, Path(pattern), selection, ())]
    if not glob.has_magic(pattern):
        raise DataError(f"{source}: expected a file, got no such file: {Path(pattern).absolute()}")
    matches = sorted(match for match in glob.glob(pattern, recursive=True)
                     if os.path.isfile(match) or os.path.isfile(os.path.join(match, "type.raw")))
    if not matches:
        raise DataError(f"{source}: expected files that match, got none in {Path.cwd()}")
    return [_Opened(match + at + suffix, Path(match), selection, ()) for match in matches]


def _selection(text: str, source: str) -> slice | str:
    if not text:
        raise DataError(f"{source}: expected a slice or a selection after '@', got nothing")
    if not SLICE.fullmatch(text):
        return text
    if ":" not in text:
        return slice(int(text), int(text) + 1 or None)
    start, stop, step = ([int(part) if part else None for part in text.split(":")] + [None])[:3]
    if step == 0:
        raise DataError(f"{source}: expected a step other than 0 after '@', got '{text}'")
    return slice(start, stop, step)


def _kept(source: _Opened, keys: KeyMapping, folder: Path, memory: float) -> Kept:
    """The frames of a source, from its copy, which is made if need be."""
    if source.path is None or (source.path.is_dir() and not is_system(source.path)):
        frames, report = _read(source, keys)
        return Kept(in_memory(frames), report)
    settings = (str(source.selection), asdict(keys))
    key = frame_cache.fingerprint(source.path, *settings)
    kept = frame_cache.load(folder, source.path, key) or _converted(source, keys, folder, memory, key, settings)
    return Kept(kept.frames._replace(names=(source.name,)), kept.report._replace(name=source.name))


def _converted(source: _Opened, keys: KeyMapping, folder: Path, memory: float, key: str,
               settings: tuple[object, ...]) -> Kept:
    path, tally = Path(source.path or ""), Tally(source.name, keys)
    try:
        return frame_cache.store(folder, path, key, _frames(source, keys, tally), tally.report,
                                 lambda: frame_cache.fingerprint(path, *settings) == key)
    except OSError as error:
        reason = f"cannot keep a copy of {path} in {folder}: {error}"
    warnings.warn(f"{reason}; going on without", stacklevel=2)
    frames, report = _read(source, keys, memory, reason)
    return Kept(in_memory(frames), report)


def _read(source: _Opened, keys: KeyMapping, memory: float = math.inf, reason: str = "") -> tuple[Frames, SourceReport]:
    """Frames of one source, all in memory."""
    tally, frames, size = Tally(source.name, keys), [], 0
    for frame in _frames(source, keys, tally):
        size += COLUMNS * 8 * len(frame.forces)
        if size > memory:
            raise DataError(f"{reason}, and its frames need more than data.memory ({memory / 1e9:g} GB): make room "
                            "for the copy, or raise data.memory")
        frames.append(frame)
    report = tally.report()
    return pack(frames, source.name), report


def _frames(source: _Opened, keys: KeyMapping, tally: Tally) -> Iterator[Frame]:
    """Frames of one source, each checked and counted."""
    for index, atoms in enumerate(_images(source)):
        where = f"{source.name} frame {index}"
        if source.path is None:
            labels.check_current(atoms, keys, where)
        frame = labels.frame_of(atoms, keys, where)
        tally.add(frame, atoms)
        yield frame


def _images(source: _Opened) -> Iterator[Atoms]:
    """Frames as ASE reads them; whatever a reader of a foreign file raises becomes a DataError."""
    if source.path is None:
        yield from source.atoms
        return
    count = 0
    try:
        for atoms in images(source.path, source.selection, source.name):
            yield atoms
            count += 1
    except DataError:
        raise
    except Exception as error:  # ASE's readers raise anything, from KeyError to AssertionError
        text = " ".join(str(error).split()) or "no message"
        after = f" after {count} frames" if count else ""
        raise DataError(f"{source.name}: expected a file that ASE can read, "
                        f"got {type(error).__name__}{after}: {text}") from error
