"""Frames as batches: several structures side by side in one list of pairs."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from ase.data import atomic_numbers
from torch import Tensor

from ase_deeppot.errors import StructureError
from ase_deeppot.fitting.frames import Frames
from ase_deeppot.neighbors import Pairs, neighbor_pairs
from ase_deeppot.potential.descriptor import Environment, Geometry, Structures
from ase_deeppot.structures import types_of


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


class Dataset:
    """Frames with their species and, within a budget of memory, their neighbour lists and environments."""

    def __init__(self, frames: Frames, type_map: tuple[str, ...], rcut: float, pairs_memory: float = 2.0) -> None:
        self.frames = frames
        self.rcut = rcut
        self.types = _types(frames, type_map)
        self.weights = np.ones(frames.count)
        self.species_weights = np.ones(len(type_map))
        self._pairs: dict[int, Pairs] = {}
        self._environments: dict[tuple[Geometry, int], Environment] = {}
        self._budget = pairs_memory * 1e9  # bytes left; may be infinite

    def __len__(self) -> int:
        return self.frames.count

    def pairs(self, k: int) -> Pairs:
        """Pairs of frame ``k`` within the cutoff, ascending in ``i``."""
        if k in self._pairs:
            return self._pairs[k]
        structure = self.frames.frame(k).structure
        found = neighbor_pairs(structure.positions, structure.cell, structure.pbc, self.rcut)
        pairs = Pairs(*(array.copy() for array in found))  # without the room for candidates behind them
        if self._affords(sum(array.nbytes for array in pairs)):
            self._pairs[k] = pairs
        return pairs

    def environment(self, k: int, geometry: Geometry) -> Environment:
        """What a model sees of frame ``k``; it does not depend on what is trained."""
        if (geometry, k) in self._environments:
            return self._environments[geometry, k]
        pairs = self.pairs(k)
        arrays = (self.types_of_frame(k), pairs.i, pairs.j, pairs.vectors)
        environment = geometry.environment(Structures(*map(torch.from_numpy, arrays)))
        if self._affords(sum(part.nbytes for part in environment)):
            self._environments[geometry, k] = environment
        return environment

    def _affords(self, size: int) -> bool:
        """Whether so many bytes may be kept; if so, they are taken from the budget."""
        if size > self._budget:
            return False
        self._budget -= size
        return True

    def types_of_frame(self, k: int) -> np.ndarray:
        """Species of the atoms of frame ``k``, [N] int64."""
        return self.types[self.frames.offsets[k] : self.frames.offsets[k + 1]]

    def batch(self, indices: np.ndarray, geometry: Geometry, device: str = "cpu") -> Batch:
        """The frames ``indices`` side by side, as a model with that geometry sees them."""
        frames, pairs = self.frames.select(indices), [self.pairs(int(k)) for k in indices]
        sizes = np.diff(frames.offsets)
        starts = frames.offsets[:-1]
        arrays = (
            np.concatenate([self.types_of_frame(int(k)) for k in indices]),
            np.concatenate([p.i + start for p, start in zip(pairs, starts, strict=True)]),
            np.concatenate([p.j + start for p, start in zip(pairs, starts, strict=True)]),
            np.concatenate([p.vectors for p in pairs]),
        )
        labels = (np.repeat(np.arange(len(sizes)), sizes), sizes.astype(np.float64),
                  frames.energies, frames.forces, frames.virials,
                  self.weights[indices], self.species_weights[arrays[0]])
        parts = zip(*(self.environment(int(k), geometry) for k in indices), strict=True)
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


def batch_size_for(frames: Frames, batch_size: int, batch_atoms: int) -> int:
    """Frames a step: as asked for, or as many as have ``batch_atoms`` atoms together on average."""
    mean_size = frames.offsets[-1] / frames.count
    return min(frames.count, batch_size or max(1, round(batch_atoms / mean_size)))


def split(frames: Frames, fraction: float, seed: int) -> tuple[Frames, Frames]:
    """Frames to train on and a share of them set aside, at least one where the share is not zero.

    Isolated atoms are all trained on: they are few, and the energy bias may need each of them.
    """
    isolated = (np.diff(frames.offsets) == 1) & ~frames.pbc.any(1)
    order = np.random.default_rng(seed).permutation(np.flatnonzero(~isolated))
    n_validation = min(len(order) - 1, max(1, round(fraction * frames.count))) if fraction > 0 and len(order) else 0
    held_out = np.zeros(frames.count, dtype=bool)
    held_out[order[:n_validation]] = True
    return frames.select(~held_out), frames.select(held_out)


def _types(frames: Frames, type_map: tuple[str, ...]) -> np.ndarray:
    try:
        return types_of(frames.numbers, type_map)
    except StructureError as error:
        atom = int(np.argmin(np.isin(frames.numbers, [atomic_numbers[symbol] for symbol in type_map])))
        frame = int(np.searchsorted(frames.offsets, atom, side="right")) - 1
        raise StructureError(f"{frames.label(frame)}: {error}") from error
