"""What a local-frame model takes from the training frames: its slots, its normalisation, and how far it jumps."""

import math
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
JUMP_FRAMES = 20  # looked at for the jump, evenly spread over all


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
        without += descriptor.geometry().left_out(types, pairs.i, pairs.j)
        everyone += len(pairs.i)
    return without, everyone


def with_jump(model: Model, dataset: Dataset) -> Model:
    """A trained model whose card says how far its forces jump; a smooth one is returned as it is."""
    if not isinstance(model.module.descriptor, LocalFrameDescriptor):
        return model
    covered = replace(model.card.domain, force_jump=force_jump(model.module, dataset))
    return model._replace(card=replace(model.card, domain=covered))


def force_jump(model: DeepPotential, dataset: Dataset) -> float:
    """Largest change of the force on an atom, eV/A, when a neighbour crosses the cutoff, in a sample of the frames.

    Of each atom that has a neighbour less than ``SHELL`` below the cutoff the farthest is taken away; what changes is
    the derivative of the atom's energy with respect to its own position and those of its neighbours.
    """
    jumps = [_jump(model, dataset, k) for k in map(int, sample(dataset, JUMP_FRAMES))]
    return max(jumps, default=0.0)


@torch.no_grad()
def _jump(model: DeepPotential, dataset: Dataset, k: int) -> float:
    types, pairs = dataset.types_of_frame(k), dataset.pairs(k)
    device = next(model.parameters()).device
    t, i, j, v = (torch.from_numpy(array).to(device) for array in (types, pairs.i, pairs.j, pairs.vectors))
    stay = ~_outermost(i, torch.linalg.vector_norm(v, dim=1), len(types), dataset.rcut - SHELL)
    if bool(stay.all()):
        return 0.0
    before = model(t, i, t[j], v)[1]
    after = torch.zeros_like(before)
    after[stay] = model(t, i[stay], t[j[stay]], v[stay])[1]
    on_neighbors = after - before
    on_centres = torch.zeros(len(types), 3, dtype=v.dtype, device=device).index_add(0, i, on_neighbors)
    largest = torch.cat([on_neighbors, on_centres]).norm(dim=1).max()
    return float(largest) if math.isfinite(largest) else 0.0


def _outermost(i: Tensor, r: Tensor, n: int, least: float) -> Tensor:
    """Which pairs [E] are the longest of their centre, and at least so long."""
    longest = torch.zeros(n, dtype=r.dtype, device=r.device).scatter_reduce(0, i, r, "amax")
    return (r == longest[i]) & (r >= least)
