"""Frames of one file, as ASE and DeePMD-kit write them, without what a reader would lose in silence."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.db import connect
from ase.db.sqlite import SQLite3Database
from ase.io import iread
from ase.io.extxyz import key_val_str_to_dict
from ase.io.formats import filetype, open_with_compression

from ase_deeppot.errors import DataError
from ase_deeppot.fitting.systems import is_system, read_systems

DATABASES = ("db", "json")
SYSTEM = "DeePMD-kit system"
PAGE = 256  # rows


def images(path: Path, selection: slice | str, name: str) -> Iterator[Atoms]:
    """Frames of a file, or of the DeePMD-kit systems in a folder.

    Parameters
    ----------
    path : Path
        Where.
    selection : slice or str
        Which frames: a slice, or for an ASE database a query.
    name : str
        For messages.

    Raises
    ------
    DataError
        If the selection does not suit the file, or frames would be lost; whatever ASE's reader raises.
    """
    kind = SYSTEM if is_system(path) else filetype(str(path)) if path.is_file() else ""
    if not kind:
        raise DataError(f"{name}: expected a file, a pattern as '{path / '*.extxyz'}' or DeePMD-kit systems, "
                        "got a folder without type.raw")
    if isinstance(selection, slice) and kind == SYSTEM and _forward(selection):
        return islice(read_systems(path), selection.start, selection.stop, selection.step)
    if isinstance(selection, slice) and (kind == SYSTEM or (selection.step or 1) < 0):  # ASE's stop early at these
        return iter(list(_whole(path, kind, name))[selection])
    if kind in DATABASES:
        return _database(path, kind, selection, name)
    if isinstance(selection, str):
        raise DataError(f"{name}: expected a slice as '@:100' for a file of type {kind}, "
                        f"got '@{selection}': selections need an ASE database")
    if kind == "extxyz":
        return _extxyz(path, selection, name)
    return iread(str(path), selection, format=kind, do_not_split_by_at_sign=True)


def _forward(selection: slice) -> bool:
    """Whether it is one that an iterator can be cut by."""
    return all(part is None or part >= 0 for part in (selection.start, selection.stop, selection.step))


def _whole(path: Path, kind: str, name: str) -> Iterator[Atoms]:
    return read_systems(path) if kind == SYSTEM else images(path, slice(None), name)


def _database(path: Path, kind: str, selection: slice | str, name: str) -> Iterator[Atoms]:
    """Rows of an ASE database with all that they carry."""
    if kind == "db" and path.suffix != ".aselmdb":
        _check_sqlite(path, name)
    # Neither a lock file nor an index is wanted: the folder may be read-only.
    with connect(path, use_lock_file=False, create_indices=False, serial=True) as database:
        rows = _pages if isinstance(database, SQLite3Database) else _rows
        for row in rows(database, selection):
            yield row.toatoms(add_additional_information=True)


def _rows(database: Any, selection: slice | str) -> Iterable[Any]:
    if isinstance(selection, str):
        return database.select(selection)
    wanted = range(database.count())[selection]
    if not wanted:
        return ()
    return islice(database.select(offset=wanted[0], limit=wanted[-1] - wanted[0] + 1), 0, None, wanted.step)


def _pages(database: Any, selection: slice | str) -> Iterator[Any]:
    """Rows by number, ``PAGE`` of them in memory at a time, where ASE would take all of them."""
    query, chosen = (selection, slice(None)) if isinstance(selection, str) else ("", selection)
    numbers = sorted(row.id for row in database.select(query, columns=["id"], include_data=False))[chosen]
    for start in range(0, len(numbers), PAGE):
        page = numbers[start : start + PAGE]
        limits = f"id>={page[0]},id<={page[-1]}"
        rows = {row.id: row for row in database.select(f"{query},{limits}" if query else limits)}
        yield from map(rows.__getitem__, page)


def _check_sqlite(path: Path, name: str) -> None:
    """ASE would create its tables in a foreign or empty sqlite file: look first, without writing."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    if "systems" not in tables:
        raise DataError(f"{name}: expected an ASE database, got the tables: {' '.join(tables) or 'none'}")


def _extxyz(path: Path, selection: slice, name: str) -> Iterator[Atoms]:
    """Extended XYZ by ASE's reader, without what that one loses in silence."""
    lines = 0
    for atoms in iread(str(path), selection, format="extxyz", do_not_split_by_at_sign=True,
                       properties_parser=_comment_line):
        lines += 2 + len(atoms)
        yield atoms
    if selection == slice(None):
        _check_read_to_end(path, lines, name)


def _comment_line(line: str) -> dict[str, Any]:
    """Of a 3 x 3 stress ASE keeps the upper triangle; nine numbers it keeps, and symmetry can be checked."""
    info = key_val_str_to_dict(line)
    if np.shape(info.get("stress")) == (3, 3):
        info["stress"] = info["stress"].reshape(9)
    return info


def _check_read_to_end(path: Path, lines: int, name: str) -> None:
    """ASE stops reading at the first blank line between frames; refuse to lose the rest."""
    with open_with_compression(str(path), "r") as stream:
        rest = islice(stream, lines, None)
        lost = next(rest, "").isspace() and any(line.strip() for line in rest)
    if lost:
        raise DataError(f"{name}: expected no blank line between frames, got one at line {lines + 1}, where "
                        "ASE stops reading: remove it")
