"""Labelled frames that stay in files: what belongs to a frame is in memory, of atoms is read when needed."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np

from ase_deeppot.errors import DataError
from ase_deeppot.fitting.frames import Frame, Frames, as_index, offsets_of

COLUMNS = 7  # of a row of atoms: atomic number, position, force; exact in float64, and one read for all


class Rows(Protocol):
    """Rows of atoms [sum N, 7] float64, of which some are read at a time: an HDF5 dataset, or an array."""

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Those rows."""
        ...


class StoredFrames(NamedTuple):
    """As :class:`Frames`, without its arrays of atoms; ``select`` reads some of them into memory."""

    rows: tuple[Rows, ...]  # of each source
    first: np.ndarray  # [F] int64, row of the frame's first atom in its source
    cells: np.ndarray  # [F, 3, 3] float64, A
    pbc: np.ndarray  # [F, 3] bool
    energies: np.ndarray  # [F] float64, eV
    virials: np.ndarray  # [F, 3, 3] float64, eV
    weights: np.ndarray  # [F] float64
    offsets: np.ndarray  # [F + 1] int64, of the frames if they were end to end
    source: np.ndarray  # [F] int64, index into names and rows
    names: tuple[str, ...]
    origin: np.ndarray  # [F] int64

    @property
    def count(self) -> int:  # type: ignore[override]
        """Number of frames F (this hides ``tuple.count``, which has no use here)."""
        return len(self.energies)

    @property
    def nbytes(self) -> int:
        """What the atoms of all frames would take in memory."""
        return int(self.offsets[-1]) * COLUMNS * 8

    def frame(self, k: int) -> Frame:
        """Read frame ``k``."""
        return self.select(slice(k, k + 1)).frame(0)

    def label(self, k: int) -> str:
        """Where frame ``k`` came from, for messages: ``'water.db frame 17'``."""
        return f"{self.names[self.source[k]]} frame {self.origin[k]}"

    def subset(self, indices: np.ndarray | Sequence[int] | slice) -> "StoredFrames":
        """Some frames in the order given, with nothing read: indices, a slice or a mask."""
        chosen = np.arange(self.count)[indices if isinstance(indices, slice) else as_index(indices)]
        return StoredFrames(self.rows, self.first[chosen], self.cells[chosen], self.pbc[chosen], self.energies[chosen],
                            self.virials[chosen], self.weights[chosen], offsets_of(np.diff(self.offsets)[chosen]),
                            self.source[chosen], self.names, self.origin[chosen])

    def select(self, indices: np.ndarray | Sequence[int] | slice) -> Frames:
        """Read some frames in the order given.

        Raises
        ------
        DataError
            If they cannot be read; the message names the frame.
        """
        part = self.subset(indices)
        atoms = np.empty((part.offsets[-1], COLUMNS))
        for start, stop in _runs(part):
            rows = slice(part.first[start], part.first[stop - 1] + part.offsets[stop] - part.offsets[stop - 1])
            try:
                atoms[part.offsets[start] : part.offsets[stop]] = part.rows[part.source[start]][rows]
            except (OSError, ValueError, RuntimeError) as error:  # HDF5 has all of them for what it cannot read
                raise DataError(f"{part.label(start)}: expected to read it from the cache of frames, got {error}"
                                ) from error
        return Frames(atoms[:, 0].astype(np.int64), atoms[:, 1:4].copy(), atoms[:, 4:7].copy(),
                      part.cells, part.pbc, part.energies, part.virials, part.weights, part.offsets, part.source,
                      part.names, part.origin)


AnyFrames = Frames | StoredFrames


def rows_of(frames: Frames) -> np.ndarray:
    """The atoms of some frames, [sum N, 7]."""
    return np.hstack([frames.numbers[:, None].astype(np.float64), frames.positions, frames.forces])


def in_memory(frames: Frames) -> StoredFrames:
    """Frames of one source that have no file, among others that have."""
    return StoredFrames((rows_of(frames),), frames.offsets[:-1], frames.cells, frames.pbc, frames.energies,
                        frames.virials, frames.weights, frames.offsets, frames.source, frames.names, frames.origin)


def join(parts: Sequence[StoredFrames]) -> StoredFrames:
    """Frames of several sources, at least one, in order."""
    firsts = offsets_of(np.array([len(part.names) for part in parts]))[:-1]
    columns = {name: np.concatenate([getattr(part, name) for part in parts])
               for name in ("first", "cells", "pbc", "energies", "virials", "weights", "origin")}
    return StoredFrames(
        **columns,
        rows=tuple(rows for part in parts for rows in part.rows),
        offsets=offsets_of(np.concatenate([np.diff(part.offsets) for part in parts])),
        source=np.concatenate([part.source + first for part, first in zip(parts, firsts, strict=True)]),
        names=tuple(name for part in parts for name in part.names),
    )


def chunks(frames: AnyFrames, atoms: int = 1 << 16) -> Iterator[Frames]:
    """All frames in order, so many atoms at a time, or one frame if it has more."""
    return (frames.select(slice(start, stop)) for start, stop in blocks(frames, atoms))


def blocks(frames: AnyFrames, atoms: int) -> Iterator[tuple[int, int]]:
    """The same as first frame and last but one, with nothing read."""
    start = 0
    while start < frames.count:
        stop = int(np.searchsorted(frames.offsets, frames.offsets[start] + atoms, side="right")) - 1
        stop = max(stop, start + 1)
        yield start, stop
        start = stop


def _runs(part: StoredFrames) -> Iterator[tuple[int, int]]:
    """Frames that follow each other in a file, as first and last but one: they are read at once."""
    after = part.first + np.diff(part.offsets)
    breaks = (part.first[1:] != after[:-1]) | (part.source[1:] != part.source[:-1])
    edges = [0, *(np.flatnonzero(breaks) + 1).tolist(), part.count]
    return ((start, stop) for start, stop in pairwise(edges) if stop > start)
