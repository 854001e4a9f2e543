"""Labelled training frames as flat arrays."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ase_deeppot.structures import Structure


class Frame(NamedTuple):
    """One structure with its labels; NaN where there is no label."""

    structure: Structure
    energy: float  # eV
    forces: np.ndarray  # [N, 3] eV/A
    virial: np.ndarray  # [3, 3] eV, -V * stress = -dE/dstrain, symmetric
    weight: float = 1.0  # in the loss


class Frames(NamedTuple):
    """Many frames as flat arrays; frame k owns rows ``offsets[k]:offsets[k + 1]`` of the atoms."""

    numbers: np.ndarray  # [sum N] int64, atomic numbers
    positions: np.ndarray  # [sum N, 3] float64, A
    forces: np.ndarray  # [sum N, 3] float64, eV/A, NaN where there is no label
    cells: np.ndarray  # [F, 3, 3] float64, A, one cell vector a row
    pbc: np.ndarray  # [F, 3] bool
    energies: np.ndarray  # [F] float64, eV, NaN where there is no label
    virials: np.ndarray  # [F, 3, 3] float64, eV, -dE/dstrain, NaN where there is no label
    weights: np.ndarray  # [F] float64, in the loss, as the user gave them
    offsets: np.ndarray  # [F + 1] int64
    source: np.ndarray  # [F] int64, index into names
    names: tuple[str, ...]  # the sources as the user wrote them
    origin: np.ndarray  # [F] int64, index of the frame within its source as selected there

    @property
    def count(self) -> int:  # type: ignore[override]
        """Number of frames F (this hides ``tuple.count``, which has no use here)."""
        return len(self.energies)

    def frame(self, k: int) -> Frame:
        """Frame ``k``, as views of the arrays."""
        rows = slice(self.offsets[k], self.offsets[k + 1])
        structure = Structure(self.numbers[rows], self.positions[rows], self.cells[k], self.pbc[k])
        return Frame(structure, float(self.energies[k]), self.forces[rows], self.virials[k],
                     float(self.weights[k]))

    def select(self, indices: np.ndarray | Sequence[int] | slice) -> "Frames":
        """Copy of some frames in the order given: indices (also negative or repeated), a slice or a mask."""
        chosen = np.arange(self.count)[indices if isinstance(indices, slice) else as_index(indices)]
        sizes = np.diff(self.offsets)[chosen]
        offsets = offsets_of(sizes)
        rows = np.repeat(self.offsets[chosen] - offsets[:-1], sizes) + np.arange(offsets[-1])
        return Frames(self.numbers[rows], self.positions[rows], self.forces[rows], self.cells[chosen],
                      self.pbc[chosen], self.energies[chosen], self.virials[chosen], self.weights[chosen],
                      offsets, self.source[chosen], self.names, self.origin[chosen])

    def subset(self, indices: np.ndarray | Sequence[int] | slice) -> "Frames":
        """As ``select``; of frames in files it is another thing."""
        return self.select(indices)

    def label(self, k: int) -> str:
        """Where frame ``k`` came from, for messages: ``'water.db frame 17'``."""
        return f"{self.names[self.source[k]]} frame {self.origin[k]}"


def pack(frames: Sequence[Frame], name: str) -> Frames:
    """Lay out the frames of one source, at least one, as flat arrays."""
    structures = [frame.structure for frame in frames]
    return Frames(
        numbers=np.concatenate([structure.numbers for structure in structures]),
        positions=np.concatenate([structure.positions for structure in structures]),
        forces=np.concatenate([frame.forces for frame in frames]),
        cells=np.stack([structure.cell for structure in structures]),
        pbc=np.stack([structure.pbc for structure in structures]),
        energies=np.array([frame.energy for frame in frames]),
        virials=np.stack([frame.virial for frame in frames]),
        weights=np.array([frame.weight for frame in frames], dtype=np.float64),
        offsets=offsets_of(np.array([len(structure.numbers) for structure in structures])),
        source=np.zeros(len(frames), dtype=np.int64),
        names=(name,),
        origin=np.arange(len(frames), dtype=np.int64),
    )


def concatenate(parts: Sequence[Frames]) -> Frames:
    """Join frames of several sources, at least one, in order."""
    firsts = offsets_of(np.array([len(part.names) for part in parts]))[:-1]
    return Frames(
        numbers=np.concatenate([part.numbers for part in parts]),
        positions=np.concatenate([part.positions for part in parts]),
        forces=np.concatenate([part.forces for part in parts]),
        cells=np.concatenate([part.cells for part in parts]),
        pbc=np.concatenate([part.pbc for part in parts]),
        energies=np.concatenate([part.energies for part in parts]),
        virials=np.concatenate([part.virials for part in parts]),
        weights=np.concatenate([part.weights for part in parts]),
        offsets=offsets_of(np.concatenate([np.diff(part.offsets) for part in parts])),
        source=np.concatenate([part.source + first for part, first in zip(parts, firsts, strict=True)]),
        names=tuple(name for part in parts for name in part.names),
        origin=np.concatenate([part.origin for part in parts]),
    )


def offsets_of(sizes: np.ndarray) -> np.ndarray:
    """Row offsets ``[F + 1]`` of consecutive blocks of the given sizes ``[F]``."""
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def as_index(indices: np.ndarray | Sequence[int]) -> np.ndarray:
    """As NumPy takes it, also where it is empty."""
    index = np.asarray(indices)
    return index if index.size else index.astype(np.int64)
