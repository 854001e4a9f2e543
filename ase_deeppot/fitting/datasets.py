"""Frames as batches: several structures side by side in one list of pairs."""

from functools import lru_cache
from threading import Lock
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from ase_deeppot.errors import DataError, DeepPotError, StructureError
from ase_deeppot.fitting.frames import Frame, Frames, offsets_of
from ase_deeppot.fitting.stored import AnyFrames, StoredFrames
from ase_deeppot.fitting.summary import Summary, summarise
from ase_deeppot.neighbors import Pairs, neighbor_pairs
from ase_deeppot.potential.descriptor import Environment, Geometry, Structures
from ase_deeppot.species import bonds_in

F = TypeVar("F", Frames, StoredFrames)

LARGEST_SHARE = 1000  # frames set aside to validate with: more would take longer than the training between


class Batch(NamedTuple):
    """B frames with N atoms and E pairs together; labels that are missing are NaN."""

    structures: Structures
    environment: Environment
    frame: Tensor  # [N] int64, frame of each atom
    sizes: Tensor  # [B] float64, atoms of each frame
    energies: Tensor  # [B] float64, eV
    forces: Tensor  # [N, 3] float64, eV/A
    virials: Tensor  # [B, 3, 3] float64, eV
    weights: Tensor  # [B] float64, of the frames in the loss
    force_weights: Tensor  # [N] float64, of the atoms' force errors within their frame
    labelled: Tensor  # [3] float64, frames with energy, forces, virial in the whole batch that these are of


class Budget:
    """Memory for what is kept between steps."""

    def __init__(self, gigabytes: float) -> None:
        self.left = gigabytes * 1e9  # bytes; may be infinite
        self._lock = Lock()

    def take(self, size: int) -> bool:
        """Whether so many bytes may be kept; if so, they are taken from the budget."""
        with self._lock:
            enough = size <= self.left
            self.left -= size if enough else 0
        return enough


class _Item(NamedTuple):
    """One frame as a model sees it."""

    frame: Frame
    types: np.ndarray  # [N] int64
    pairs: Pairs
    environment: Environment


class Dataset:
    """Frames with their species and, within a budget of memory, their neighbour lists and environments.

    What does not fit is made, and frames in files are read, each time they are asked for. Two threads may ask.

    Parameters
    ----------
    frames : Frames or StoredFrames
    type_map : tuple of str
    rcut : float
        A.
    memory : float or Budget
        GB.
    summary : Summary, optional
        Of the frames, with the species of these bonds, if it was made before.
    """

    def __init__(self, frames: AnyFrames, type_map: tuple[str, ...], rcut: float, memory: float | Budget = 2.0,
                 summary: Summary | None = None) -> None:
        self.frames = frames
        self.rcut = rcut
        self.summary = summary or summarise(frames, bonds_in(type_map))
        self.counts = _counts(frames, self.summary, type_map)  # [F, T] atoms of each species
        self._types = self.summary.types_of(type_map)
        self.weights = np.ones(frames.count)
        self.species_weights = np.ones(len(type_map))
        self._last: tuple[int, Frame] = (-1, frames.frame(0))
        self._pairs: dict[int, Pairs] = {}
        self._environments: dict[tuple[Geometry, int], Environment] = {}
        self._budget = memory if isinstance(memory, Budget) else Budget(memory)

    def __len__(self) -> int:
        return self.frames.count

    def frame(self, k: int) -> Frame:
        """Frame ``k``; asked for again, the one before is not read again."""
        last = self._last
        if last[0] != k:
            last = self._last = k, self.frames.frame(k)
        return last[1]

    def types_of_frame(self, k: int) -> np.ndarray:
        """Species of the atoms of frame ``k``, [N] int64."""
        return self._types[self.frames.offsets[k] : self.frames.offsets[k + 1]].astype(np.int64)

    def pairs(self, k: int) -> Pairs:
        """Pairs of frame ``k`` within the cutoff, ascending in ``i``."""
        if k in self._pairs:
            return self._pairs[k]
        structure = self.frame(k).structure
        found = neighbor_pairs(structure.positions, structure.cell, structure.pbc, self.rcut)
        pairs = Pairs(*(array.copy() for array in found))  # without the room for candidates behind them
        if self._budget.take(sum(array.nbytes for array in pairs)):
            self._pairs[k] = pairs
        return pairs

    def environment(self, k: int, geometry: Geometry) -> Environment:
        """What a model sees of frame ``k``; it does not depend on what is trained."""
        return self._item(k, geometry).environment

    def _item(self, k: int, geometry: Geometry) -> _Item:
        frame, types, pairs = self.frame(k), self.types_of_frame(k), self.pairs(k)
        environment = self._environments.get((geometry, k))
        if environment is None:
            arrays = (types, pairs.i, pairs.j, pairs.vectors)
            environment = geometry.environment(Structures(*map(torch.from_numpy, arrays)))
            if self._budget.take(sum(part.nbytes for part in environment)):
                self._environments[geometry, k] = environment
        return _Item(frame, types, pairs, environment)

    def _named_item(self, k: int, geometry: Geometry) -> _Item:
        try:
            return self._item(k, geometry)
        except DeepPotError:
            raise
        except Exception as error:  # anything, in the middle of a long run: say of which frame
            raise DataError(f"{self.frames.label(k)}: {type(error).__name__}: {error}") from error

    def batch(self, indices: np.ndarray, geometry: Geometry, device: str = "cpu",
              of: np.ndarray | None = None) -> Batch:
        """The frames ``indices`` side by side, as a model with that geometry sees them.

        ``of`` are the frames of the whole batch where these are a share of it.
        """
        items = [self._named_item(int(k), geometry) for k in indices]
        sizes = np.array([len(item.types) for item in items])
        starts = offsets_of(sizes)[:-1]
        arrays = (
            np.concatenate([item.types for item in items]),
            np.concatenate([item.pairs.i + start for item, start in zip(items, starts, strict=True)]),
            np.concatenate([item.pairs.j + start for item, start in zip(items, starts, strict=True)]),
            np.concatenate([item.pairs.vectors for item in items]),
        )
        labels = (np.repeat(np.arange(len(sizes)), sizes), sizes.astype(np.float64),
                  self.frames.energies[indices], np.concatenate([item.frame.forces for item in items]),
                  self.frames.virials[indices], self.weights[indices], self.species_weights[arrays[0]],
                  self.summary.labelled[indices if of is None else of].sum(0, dtype=np.float64))
        parts = zip(*(item.environment for item in items), strict=True)
        environment = Environment(*(torch.cat(part).to(device) for part in parts))
        return Batch(Structures(*(torch.from_numpy(array).to(device) for array in arrays)), environment,
                     *(torch.from_numpy(array).to(device) for array in labels))


class Sampler(NamedTuple):
    """Which frames a step sees: a function of the step and the seed alone, so that a restart needs no state."""

    n_frames: int
    batch_size: int
    seed: int

    def indices(self, step: int) -> np.ndarray:
        """Frames of step ``step``; every epoch sees each frame once, in an order of its own."""
        steps_per_epoch = -(-self.n_frames // self.batch_size)
        epoch, place = divmod(step, steps_per_epoch)
        order = _order(self.n_frames, self.seed, epoch)
        return order[place * self.batch_size : (place + 1) * self.batch_size]


@lru_cache(maxsize=2)
def _order(n_frames: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(n_frames)


def batch_size_for(frames: AnyFrames, batch_size: int, batch_atoms: int) -> int:
    """Frames a step: as asked for, or as many as have ``batch_atoms`` atoms together on average."""
    mean_size = frames.offsets[-1] / frames.count
    return min(frames.count, batch_size or max(1, round(batch_atoms / mean_size)))


def split(frames: F, fraction: float, seed: int) -> tuple[F, F]:
    """Frames to train on and a share of them set aside, at least one where the share is not zero.

    Isolated atoms are all trained on: they are few, and the energy bias may need each of them.
    """
    isolated = (np.diff(frames.offsets) == 1) & ~frames.pbc.any(1)
    order = np.random.default_rng(seed).permutation(np.flatnonzero(~isolated))
    asked = min(LARGEST_SHARE, max(1, round(fraction * frames.count))) if fraction > 0 else 0
    n_validation = min(len(order) - 1, asked) if len(order) else 0
    held_out = np.zeros(frames.count, dtype=bool)
    held_out[order[:n_validation]] = True
    return frames.subset(~held_out), frames.subset(held_out)


def _counts(frames: AnyFrames, summary: Summary, type_map: tuple[str, ...]) -> np.ndarray:
    """Atoms of each species in each frame; refuses those that the model does not have."""
    unknown = [name for name in summary.species if name not in type_map]
    if unknown:
        frame, what = int(np.argmax(summary.counts_of(unknown).any(1))), "species" if bonds_in(type_map) else "elements"
        raise StructureError(f"{frames.label(frame)}: expected {what} of the model ({', '.join(type_map)}), got "
                             f"{', '.join(sorted(unknown))}")
    return summary.counts_of(type_map)
