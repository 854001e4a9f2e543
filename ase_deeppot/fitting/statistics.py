"""What the training frames say before training: normalisation, domain of validity, identity."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.stored import AnyFrames
from ase_deeppot.fitting.summary import Summary
from ase_deeppot.potential.card import Domain, pair_name
from ase_deeppot.potential.config import HybridPart, ModelConfig, SmoothConfig
from ase_deeppot.potential.environment import radial_weight
from ase_deeppot.potential.smooth import SmoothDescriptor

SMALLEST_SPREAD = 1e-2  # 1/A; a species that has hardly any neighbours must not be blown up
SERIES_REACH = 0.8  # of the smallest distance, down to which the embedding's series are made
LARGEST_SAMPLE = 1000  # frames looked at, evenly spread over all


class Environments(NamedTuple):
    """Sums over the environments of a sample of frames, by species of the centre (T species)."""

    sel: np.ndarray  # [T, T] most neighbours of each species (second) around a centre (first)
    smallest: np.ndarray  # [T, T] A, smallest distance
    centres: np.ndarray  # [T] number of centres
    sum_s: np.ndarray  # [T] sum of s(r), 1/A
    sum_s2: np.ndarray  # [T] sum of s(r)^2
    sum_a2: np.ndarray  # [T] sum of s(r)^2 (u_x^2 + u_y^2 + u_z^2) / 3
    sum_neighbors: np.ndarray  # [T, T] sum over centres (first) of their neighbours of each species (second)
    closest: np.ndarray  # [T, T] frame of the smallest distance
    alone: np.ndarray  # [A] frames of several atoms with an atom that has no neighbour


def survey(dataset: Dataset, config: ModelConfig) -> Environments:
    """Look at the environments of up to ``LARGEST_SAMPLE`` frames."""
    frames = sample(dataset)
    parts = [_survey_frame(dataset, int(k), config, len(config.type_map)) for k in frames]
    sel, smallest, *sums, _, alone = (np.stack(column) for column in zip(*parts, strict=True))
    centres, sum_s, sum_s2, sum_a2, neighbors = (column.sum(0) for column in sums)
    return Environments(sel.max(0), smallest.min(0), centres, sum_s, sum_s2, sum_a2, neighbors,
                        frames[smallest.argmin(0)], frames[alone])


def sample(dataset: Dataset, largest: int = LARGEST_SAMPLE) -> np.ndarray:
    """Frames to look at, evenly spread over all."""
    return np.unique(np.linspace(0, len(dataset) - 1, min(len(dataset), largest)).astype(int))


def survey_of_part(dataset: Dataset, config: ModelConfig, part: HybridPart) -> Environments:
    """As ``survey``, of what one part of a hybrid descriptor sees."""
    return survey(dataset, replace(config, rcut=part.rcut, descriptor=part))


def _survey_frame(dataset: Dataset, k: int, config: ModelConfig, n_types: int) -> Environments:
    types, pairs = dataset.types_of_frame(k), dataset.pairs(k)
    r = np.linalg.norm(pairs.vectors, axis=1)
    if (r > config.rcut).any():  # of a part of a hybrid descriptor
        near = r <= config.rcut
        pairs, r = pairs._replace(i=pairs.i[near], j=pairs.j[near]), r[near]
    s = _weight(r, config)
    kind = types[pairs.i] * n_types + types[pairs.j]
    counts = np.bincount(pairs.i * n_types + types[pairs.j], minlength=len(types) * n_types).reshape(-1, n_types)
    sel = np.zeros((n_types, n_types), dtype=np.int64)
    np.maximum.at(sel, types, counts)
    smallest = np.full(n_types * n_types, np.inf)
    np.minimum.at(smallest, kind, r)
    centre = types[pairs.i]
    sum_s, sum_s2, sum_a2 = (np.bincount(centre, weights, n_types) for weights in (s, s * s, s * s / 3))
    neighbors = np.bincount(kind, minlength=n_types * n_types).reshape(n_types, n_types)
    alone = len(types) > 1 and len(np.unique(pairs.i)) < len(types)
    return Environments(sel, smallest.reshape(n_types, n_types), np.bincount(types, minlength=n_types), sum_s,
                        sum_s2, sum_a2, neighbors, np.full((n_types, n_types), k), np.array(alone))


def _weight(r: np.ndarray, config: ModelConfig) -> np.ndarray:
    """s(r); 1/r where the cutoff is sharp."""
    if not isinstance(config.descriptor, SmoothConfig):
        return 1.0 / r
    return radial_weight(torch.from_numpy(r), config.descriptor.rcut_smth, config.rcut)[0].numpy()


def normalise(descriptor: SmoothDescriptor, environments: Environments, sel: np.ndarray | None = None) -> None:
    """Set the series' range, and davg, dstd and sel: mean and spread over all slots, empty ones (zero) included.

    ``sel`` [T] is that of the environments where it is not given.
    """
    sel = np.maximum(environments.sel.max(0), 1) if sel is None else sel
    slots = np.maximum(environments.centres, 1) * sel.sum()
    mean = environments.sum_s / slots
    radial = np.sqrt(np.maximum(environments.sum_s2 / slots - mean**2, 0))
    angular = np.sqrt(environments.sum_a2 / slots)
    closest = environments.smallest.min()
    descriptor.s_max.fill_(1.0 / (SERIES_REACH * closest) if np.isfinite(closest) else 1.0)
    descriptor.davg.copy_(torch.from_numpy(mean))
    descriptor.dstd.copy_(torch.from_numpy(np.maximum(np.stack([radial, angular], 1), SMALLEST_SPREAD)))
    descriptor.sel.copy_(torch.from_numpy(sel.astype(np.float64)))


def domain(dataset: Dataset, environments: Environments, type_map: tuple[str, ...]) -> Domain:
    """What the frames cover, for the model's card."""
    frames, sizes = dataset.frames, np.diff(dataset.frames.offsets)
    fractions = dataset.counts / sizes[:, None]
    per_atom = (frames.energies / sizes)[np.isfinite(frames.energies)]
    smallest = {pair_name(a, b): float(environments.smallest[t, u]) for t, a in enumerate(type_map)
                for u, b in enumerate(type_map[: t + 1]) if np.isfinite(environments.smallest[t, u])}
    return Domain(
        frames=frames.count,
        atoms=(int(sizes.min()), int(sizes.max())),
        smallest_distance=smallest,
        largest_neighbors=dict(zip(type_map, environments.sel.max(0).tolist(), strict=True)),
        composition={symbol: [float(fractions[:, t].min()), float(fractions[:, t].max())]
                     for t, symbol in enumerate(type_map)},
        energy_per_atom=(float(per_atom.min()), float(per_atom.max())) if len(per_atom) else (0.0, 0.0),
        largest_force=float(np.fmax.reduce(dataset.summary.largest_component, initial=0.0)),
    )


def also_covered(domain: Domain, earlier: Domain) -> Domain:
    """The domain with the distances, neighbours, compositions and forces of an earlier one, which are still known."""
    smallest = {pair: min(part.smallest_distance.get(pair, np.inf) for part in (domain, earlier))
                for pair in earlier.smallest_distance | domain.smallest_distance}
    most = {symbol: max(part.largest_neighbors.get(symbol, 0) for part in (domain, earlier))
            for symbol in earlier.largest_neighbors | domain.largest_neighbors}
    composition = {symbol: _span(now, earlier.composition.get(symbol, now))
                   for symbol, now in domain.composition.items()}
    return replace(domain, smallest_distance=smallest, largest_neighbors=most, composition=composition,
                   largest_force=max(domain.largest_force, earlier.largest_force))


def _span(*ranges: Sequence[float]) -> list[float]:
    lowest, highest = zip(*ranges, strict=True)
    return [min(lowest), max(highest)]


def content_hashes(frames: AnyFrames, summary: Summary) -> dict[str, str]:
    """SHA-256 of the frames and labels of each source, for the record of what a model was trained on."""
    known = base_names(frames.names)
    names = np.array(known, dtype=object)[frames.source]  # several sources may share a name
    return {name: hashlib.sha256(summary.content[names == name].tobytes()).hexdigest()
            for name in dict.fromkeys(known)}


def base_names(sources: Sequence[str]) -> tuple[str, ...]:
    """Names of sources without their folders, which tell about a computer and not about data."""
    return tuple(os.path.basename(source) for source in sources)
