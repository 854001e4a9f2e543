"""Numbers that tell what each frame is like, from one pass over all frames."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from ase.data import atomic_numbers

from ase_deeppot.bonds import species_names
from ase_deeppot.fitting.frames import Frames
from ase_deeppot.fitting.stored import AnyFrames, chunks
from ase_deeppot.species import element_of
from ase_deeppot.structures import elements_of

SAME_POSITION = 4  # decimals of A
# Parts of the unit circle, and where they begin: so that fractions of cells like 1/2, 1/3, 1/8 lie inside of parts.
CIRCLE, BEGIN = 300.0, 0.123


class Summary(NamedTuple):
    """Of each frame; forces are NaN where there is no label."""

    species: tuple[str, ...]  # that occur, by atomic number and then by name
    types: np.ndarray  # [sum N] int16, index of each atom's species
    counts: np.ndarray  # [F, S] int32, atoms of each species
    labelled: np.ndarray  # [F, 3] bool: energy, forces (of one atom at least), virial
    largest_force: np.ndarray  # [F] eV/A, on an atom
    largest_component: np.ndarray  # [F] eV/A, of a force
    net_force: np.ndarray  # [F] eV/A, absolute value of the sum of the forces
    force_squares: np.ndarray  # [F] (eV/A)^2, sum over all components
    force_labels: np.ndarray  # [F] int64, number of components
    structure: np.ndarray  # [F] digest, equal for equal elements, positions and cells, to rounding
    crystal: np.ndarray  # [F] digest, equal for one crystal under any strain; empty where there is no virial
    content: np.ndarray  # [F] digest of structure and labels

    def counts_of(self, species: Sequence[str]) -> np.ndarray:
        """Atoms of each of these species, also those that do not occur, [F, len(species)] int32."""
        counts = np.zeros((len(self.counts), len(species)), dtype=np.int32)
        for column, name in enumerate(species):
            if name in self.species:
                counts[:, column] = self.counts[:, self.species.index(name)]
        return counts

    def types_of(self, species: Sequence[str]) -> np.ndarray:
        """Index of each atom's species in this order, which has all that occur, [sum N] int16."""
        return np.array([species.index(name) for name in self.species], np.int16)[self.types]


def summarise(frames: AnyFrames, bonds: int = 0) -> Summary:
    """Look at all frames once, some at a time; what an atom's species is depends on what is so many bonds away."""
    parts = [_summary(part, bonds) for part in chunks(frames)]
    species = _ordered({name for part in parts for name in part.species})
    columns = {name: np.concatenate([getattr(part, name) for part in parts])
               for name in Summary._fields if name not in ("species", "types", "counts")}
    counts = np.concatenate([part.counts_of(species) for part in parts])
    types = np.concatenate([part.types_of(species) for part in parts])
    return Summary(species=species, types=types, counts=counts, **columns)


def _ordered(species: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(species, key=lambda name: (atomic_numbers[element_of(name)], name)))


def _species(part: Frames, bonds: int) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the species that occur, and the index of each atom's."""
    if not bonds:
        present, element = np.unique(part.numbers, return_inverse=True)
        return elements_of(present), element
    names = [name for k in range(part.count) for name in species_names(part.frame(k).structure, bonds)]
    species = _ordered(set(names))
    index = {name: t for t, name in enumerate(species)}
    return species, np.array([index[name] for name in names])


def _summary(part: Frames, bonds: int) -> Summary:
    first, sizes = part.offsets[:-1], np.diff(part.offsets)
    frame = np.repeat(np.arange(part.count), sizes)
    species, types = _species(part, bonds)
    counts = np.bincount(frame * len(species) + types, minlength=part.count * len(species))
    finite = np.isfinite(part.forces)
    labelled = np.stack([np.isfinite(part.energies), np.logical_or.reduceat(finite.all(1), first),
                         np.isfinite(part.virials[:, 0, 0])], axis=1)
    known = np.where(finite, part.forces, 0.0)
    return Summary(
        species, types.astype(np.int16), counts.reshape(part.count, -1).astype(np.int32), labelled,
        largest_force=np.fmax.reduceat(np.linalg.norm(part.forces, axis=1), first),
        largest_component=np.fmax.reduceat(np.abs(part.forces).max(1), first),
        net_force=np.linalg.norm(np.add.reduceat(part.forces, first), axis=1),
        force_squares=np.add.reduceat((known**2).sum(1), first),
        force_labels=np.add.reduceat(finite.sum(1), first),
        structure=np.array(list(structure_keys(part)), dtype="S16"),
        crystal=np.array(list(crystal_keys(part)), dtype="S16"),
        content=np.array(list(_contents(part)), dtype="S32"),
    )


def structure_keys(frames: Frames) -> Iterator[bytes]:
    """Digest of each structure, equal for equal elements, positions and cell, to rounding."""
    positions, cells = (np.round(array, SAME_POSITION) + 0.0 for array in (frames.positions, frames.cells))
    for k in range(frames.count):
        rows = slice(frames.offsets[k], frames.offsets[k + 1])
        yield _digest((frames.numbers[rows], positions[rows], cells[k] * frames.pbc[k][:, None], frames.pbc[k]), 16)


def crystal_keys(frames: Frames) -> Iterator[bytes]:
    """Digest of the elements and scaled positions (from the first atom) of each crystal with a virial."""
    for k in range(frames.count):
        crystal = frames.pbc[k].all() and np.isfinite(frames.virials[k]).all() and np.linalg.det(frames.cells[k])
        if not crystal:
            yield b""
            continue
        rows = slice(frames.offsets[k], frames.offsets[k + 1])
        scaled = np.linalg.solve(frames.cells[k].T, (frames.positions[rows] - frames.positions[rows.start]).T)
        around = np.stack([np.cos(2 * np.pi * scaled), np.sin(2 * np.pi * scaled)])
        yield _digest((frames.numbers[rows], np.round(CIRCLE * around + BEGIN).astype(np.int32)), 16)


def _contents(frames: Frames) -> Iterator[bytes]:
    for k in range(frames.count):
        structure, energy, forces, virial, weight = frames.frame(k)
        yield _digest((*structure, np.array(energy), forces, virial, np.array(weight)), 32)


def _digest(arrays: Sequence[np.ndarray], size: int) -> bytes:
    return hashlib.blake2b(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays),
                           digest_size=size).digest()
