"""What a local-frame model takes from the training frames: its slots, its normalisation, and how far it jumps."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.statistics import SMALLEST_SPREAD, sample
from ase_deeppot.potential.archive import Model
from ase_deeppot.potential.config import LocalFrameConfig, ModelConfig
from ase_deeppot.potential.deep_potential import DeepPotential
from ase_deeppot.potential.local_frame import LocalFrameDescriptor

NEAR = 0.75  # of rcut, up to which neighbours get all coordinates
HEAD_ROOM = 1.1  # slots for the most neighbours found
SHELL = 0.25  # A, below the cutoff, in which a neighbour may leave
JUMP_ATOMS = 256  # looked at together for the jump


def with_slots(config: ModelConfig, dataset: Dataset, earlier: ModelConfig | None = None) -> ModelConfig:
    """The model with its slots counted where none are given; others are returned as they are.

    All coordinates for as many neighbours as there are within 3/4 of the cutoff, 1/R for the others, and a tenth more;
    for a run that goes on, the slots that it began with.
    """
    descriptor = config.descriptor
    if not isinstance(descriptor, LocalFrameConfig) or (descriptor.sel_a and descriptor.sel_r):
        return config
    if earlier is not None and isinstance(earlier.descriptor, LocalFrameConfig):
        sel_a, sel_r = descriptor.sel_a or earlier.descriptor.sel_a, descriptor.sel_r or earlier.descriptor.sel_r
        return replace(config, descriptor=replace(descriptor, sel_a=sel_a, sel_r=sel_r))
    near, most = (np.ceil(HEAD_ROOM * _most_neighbors(dataset, config, rcut)).astype(int).tolist()
                  for rcut in (NEAR * config.rcut, config.rcut))
    sel_a = descriptor.sel_a or dict(zip(config.type_map, near, strict=True))
    rest = [max(0, n - sel_a[element]) for element, n in zip(config.type_map, most, strict=True)]
    sel_r = descriptor.sel_r or dict(zip(config.type_map, rest, strict=True))
    return replace(config, descriptor=replace(descriptor, sel_a=sel_a, sel_r=sel_r))


def _most_neighbors(dataset: Dataset, config: ModelConfig, rcut: float) -> np.ndarray:
    """Most neighbours of each species around any atom, [T]."""
    n_types = len(config.type_map)
    most = np.zeros(n_types, dtype=np.int64)
    for k in map(int, sample(dataset)):
        types, pairs = dataset.types_of_frame(k), dataset.pairs(k)
        near = np.linalg.norm(pairs.vectors, axis=1) < rcut
        kind = pairs.i[near] * n_types + types[pairs.j[near]]
        counts = np.bincount(kind, minlength=len(types) * n_types).reshape(-1, n_types)
        most = np.maximum(most, counts.max(0, initial=0))
    return most


def normalise_slots(descriptor: LocalFrameDescriptor, dataset: Dataset) -> None:
    """Set davg and dstd: mean and spread of each component of D over all atoms of a species, empty slots as zeros."""
    shape = (descriptor.n_types, descriptor.width)
    count, total, squares = torch.zeros(shape[0], 1), torch.zeros(shape).double(), torch.zeros(shape).double()
    for k in map(int, sample(dataset)):
        types = torch.from_numpy(dataset.types_of_frame(k))
        d = dataset.environment(k, descriptor.geometry()).features
        count += torch.bincount(types, minlength=shape[0])[:, None]
        total.index_add_(0, types, d)
        squares.index_add_(0, types, d * d)
    count = count.clamp(min=1.0)
    mean = total / count
    descriptor.davg.copy_(mean)
    descriptor.dstd.copy_((squares / count - mean**2).clamp(min=0.0).sqrt().clamp(min=SMALLEST_SPREAD))


def left_out(descriptor: LocalFrameDescriptor, dataset: Dataset) -> tuple[int, int]:
    """Neighbours without a slot in a sample of the frames, and all neighbours."""
    without = everyone = 0
    for k in map(int, sample(dataset)):
        types, pairs = dataset.types_of_frame(k), dataset.pairs(k)
        without += descriptor.geometry().left_out(types, pairs)
        everyone += len(pairs.i)
    return without, everyone


def with_jump(model: Model, dataset: Dataset) -> Model:
    """A trained model whose card says how far its forces jump; a smooth one is returned as it is."""
    if not isinstance(model.module.descriptor, LocalFrameDescriptor):
        return model
    covered = replace(model.card.domain, force_jump=force_jump(model.module, dataset))
    return model._replace(card=replace(model.card, domain=covered))


def force_jump(model: DeepPotential, dataset: Dataset) -> float:
    """Largest change of the force on an atom, eV/A, when a neighbour crosses the cutoff, in up to 1000 frames.

    Of each atom that has a neighbour less than ``SHELL`` below the cutoff the farthest is taken away; what changes is
    the derivative of the atom's energy with respect to its own position and those of its neighbours.
    """
    edge = dataset.rcut - SHELL
    return max(_jump(model, edge, *_side_by_side(dataset, frames)) for frames in _groups(dataset))


def _groups(dataset: Dataset) -> list[np.ndarray]:
    """The frames in groups of about ``JUMP_ATOMS`` atoms: one by one, small frames would take much longer."""
    frames = sample(dataset)
    atoms = dataset.counts[frames].sum(1).cumsum()
    return np.split(frames, np.flatnonzero(np.diff(atoms // JUMP_ATOMS)) + 1)


def _side_by_side(dataset: Dataset, frames: np.ndarray) -> list[Tensor]:
    """Species of all atoms; centre, species of the neighbour and vector of all pairs."""
    parts, start = [], 0
    for k in frames.tolist():
        types, pairs = dataset.types_of_frame(k), dataset.pairs(k)
        parts.append((types, pairs.i + start, types[pairs.j], pairs.vectors))
        start += len(types)
    return [torch.from_numpy(np.concatenate(column)) for column in zip(*parts, strict=True)]


@torch.no_grad()
def _jump(model: DeepPotential, edge: float, types: Tensor, i: Tensor, types_j: Tensor, vectors: Tensor) -> float:
    device = next(model.parameters()).device
    types, i, types_j, vectors = (part.to(device) for part in (types, i, types_j, vectors))
    stay = ~_outermost(i, torch.linalg.vector_norm(vectors, dim=1), len(types), edge)
    if bool(stay.all()):
        return 0.0
    before = model(types, i, types_j, vectors)[1]
    after = torch.zeros_like(before)
    after[stay] = model(types, i[stay], types_j[stay], vectors[stay])[1]
    on_neighbors = after - before
    on_centres = vectors.new_zeros(len(types), 3).index_add(0, i, on_neighbors)
    changes = torch.cat([on_neighbors, on_centres]).norm(dim=1)
    return float(changes.nan_to_num(0.0, 0.0, 0.0).max())


def _outermost(i: Tensor, r: Tensor, n: int, least: float) -> Tensor:
    """Which pairs [E] are the longest of their centre, and at least so long."""
    longest = torch.zeros(n, dtype=r.dtype, device=r.device).scatter_reduce(0, i, r, "amax")
    return (r == longest[i]) & (r >= least)
