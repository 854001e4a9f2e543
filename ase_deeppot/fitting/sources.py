"""Training data from whatever ASE reads, from DeePMD-kit's systems, and from lists of Atoms."""

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from ase_deeppot.errors import DataError
from ase_deeppot.fitting import cache as frame_cache
from ase_deeppot.fitting import labels
from ase_deeppot.fitting.frames import Frames, concatenate, pack
from ase_deeppot.fitting.labels import STANDARD_KEYS, KeyMapping
from ase_deeppot.fitting.readers import images

SLICE = re.compile(r"-?\d+|(-?\d*):(-?\d*)(:(-?\d*))?")
IN_MEMORY = "Atoms in memory"

Source = str | os.PathLike[str] | Atoms


class SourceReport(NamedTuple):
    """What a source held: numbers of frames, and of frames with each label."""

    name: str
    frames: int
    energies: int
    forces: int
    virials: int
    elements: tuple[str, ...]
    hint: str  # what is missing and which keys were seen that look like it, or empty


class _Opened(NamedTuple):
    """One source to read: a file and what to take of it, or Atoms."""

    name: str
    path: Path | None
    selection: slice | str  # of the frames, or a database query
    atoms: tuple[Atoms, ...]


def read_frames(sources: Source | Iterable[Source], keys: KeyMapping = STANDARD_KEYS,
                cache: Path | None = None) -> tuple[Frames, tuple[SourceReport, ...]]:
    """Read labelled frames from files, databases and Atoms.

    Parameters
    ----------
    sources : path, str, Atoms, or several of them
        A str may hold wildcards (every match is a source of its own, in alphabetical order) and end in ASE's
        ``@slice``, as ``water.extxyz@:100`` or ``@-1``, or for a database in ``@selection``, as
        ``water.db@natoms=9``. A file whose name contains these characters goes before. Neighbouring Atoms of
        a list are one source. A folder stands for the DeePMD-kit systems in it.
    keys : KeyMapping
        Names of the labels. A label that a frame lacks is NaN in the result.
    cache : Path, optional
        Folder for a fast copy of each file; None reads the files themselves.

    Returns
    -------
    Frames, tuple of SourceReport

    Raises
    ------
    DataError
        For a source that cannot be found or read, is empty, or has no label at all; for a frame without
        atoms, or with wrong shapes, or numbers that are not finite. The message names source and frame.
    """
    opened = [one for source in _listed(sources) for one in _open(source)]
    if not opened:
        raise DataError("expected at least one source of frames, got none")
    read = [_read_cached(one, keys, cache) for one in opened]
    return concatenate([frames for frames, _ in read]), tuple(_report(frames, text) for frames, text in read)


def format_reports(reports: Sequence[SourceReport]) -> list[str]:
    """Lines of a table of the reports, the hints below their sources."""
    width = max(len("source"), *(len(report.name) for report in reports))
    lines = [f"{'source':{width}}  {'frames':>7} {'energies':>8} {'forces':>7} {'virials':>7}  elements"]
    for report in reports:
        lines.append(f"{report.name:{width}}  {report.frames:7d} {report.energies:8d} {report.forces:7d} "
                     f"{report.virials:7d}  {' '.join(report.elements)}")
        lines.extend([f"  {report.hint}"] if report.hint else [])
    return lines


def _listed(sources: Source | Iterable[Source]) -> list[str | tuple[Atoms, ...]]:
    """The sources as text or runs of neighbouring Atoms."""
    single = isinstance(sources, str | os.PathLike | Atoms) or not isinstance(sources, Iterable)
    items: list[Any] = [sources] if single else list(sources)  # type: ignore[arg-type]
    for item in items:
        if not isinstance(item, str | os.PathLike | Atoms):
            raise DataError(f"expected a path or ase.Atoms as source, got {type(item).__name__}")
    listed: list[str | tuple[Atoms, ...]] = []
    for in_memory, group in groupby(items, key=lambda item: isinstance(item, Atoms)):
        run: Any = tuple(group)
        listed.extend([run] if in_memory else map(os.fspath, run))
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


def _read_cached(source: _Opened, keys: KeyMapping, folder: Path | None) -> tuple[Frames, str]:
    if folder is None or source.path is None or source.path.is_dir():
        return _read(source, keys)
    settings = (str(source.selection), asdict(keys))
    key = frame_cache.fingerprint(source.path, *settings)
    found = frame_cache.load(Path(folder), source.path, key)
    if found is None:
        found = _read(source, keys)
        if frame_cache.fingerprint(source.path, *settings) == key:  # else it was written to while being read
            frame_cache.store(Path(folder), source.path, key, *found)
    frames, text = found
    return frames._replace(names=(source.name,)), text


def _read(source: _Opened, keys: KeyMapping) -> tuple[Frames, str]:
    """Frames of one source, and the hint about labels that are missing."""
    frames, seen = [], {}
    for index, atoms in enumerate(_images(source)):
        where = f"{source.name} frame {index}"
        if source.path is None:
            labels.check_current(atoms, keys, where)
        frames.append(labels.frame_of(atoms, keys, where))
        seen.update(dict.fromkeys(labels.seen_keys(atoms)))
    if not frames:
        raise DataError(f"{source.name}: expected at least one frame, got none")
    packed = pack(frames, source.name)
    if np.isnan(packed.energies).all() and np.isnan(packed.forces).all() and np.isnan(packed.virials).all():
        raise DataError(f"{source.name}: {labels.no_labels(keys, seen)}")
    return packed, labels.hint(packed, keys, seen)


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


def _report(frames: Frames, text: str) -> SourceReport:
    with_forces = np.isfinite(frames.forces[frames.offsets[:-1], 0])
    with_virial = np.isfinite(frames.virials[:, 0, 0])
    elements = tuple(chemical_symbols[z] for z in np.unique(frames.numbers))
    return SourceReport(frames.names[0], frames.count, int(np.isfinite(frames.energies).sum()),
                        int(with_forces.sum()), int(with_virial.sum()), elements, text)
