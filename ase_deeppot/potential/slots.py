"""Which neighbour of an atom is where: sorted by species, then by distance, and two of them span the local frame.

Nothing here is differentiated: between the jumps, the order of the neighbours is constant.
"""

from typing import NamedTuple, Tuple

import torch
from torch import Tensor

COLLINEAR = 0.1  # sine of the angle between two neighbours below which they span no frame


class Slots(NamedTuple):
    """Places for the neighbours of an atom; the first ``full`` of them take all coordinates, the others 1/R."""

    rcut: float  # A
    full: int
    species: Tensor  # [S] int64, of the neighbour in each slot
    rank: Tensor  # [S] int64, by distance among those of its species
    axes: Tensor  # [T, 2, 2] int64, by species of the centre: species and rank of both axis atoms; -1: the nearest


class Sorted(NamedTuple):
    """Neighbours of N atoms by species, then by distance, in rows of equal length; empty places are at the end."""

    pair: Tensor  # [N, h] int64, which of the centre's pairs
    species: Tensor  # [N, h] int64, T in empty places
    rank: Tensor  # [N, h] int64, by distance within the species
    distance: Tensor  # [N, h], A, infinite in empty places
    vectors: Tensor  # [N, h, 3], A
    counts: Tensor  # [N, T] int64, neighbours of each species


def arrange(slots: Slots, types: Tensor, i: Tensor, types_j: Tensor, vectors: Tensor) -> Tensor:
    """The pair in each slot, counted from the first pair of its centre, -1 where the slot is empty.

    Returns
    -------
    Tensor, [N, S + 2] int32
        The last two columns are the axis atoms: R_ia, and R_ib, -1 where no neighbour spans a frame with R_ia.
    """
    near = by_species_and_distance(slots.rcut, slots.axes.shape[0], types.shape[0], i, types_j, vectors)
    start = torch.cumsum(near.counts, 1) - near.counts
    place = start.index_select(1, slots.species) + slots.rank
    filled = slots.rank < near.counts.index_select(1, slots.species)
    inside = near.pair.gather(1, place.clamp(max=near.pair.shape[1] - 1))
    a, b = axis_atoms(slots.axes.index_select(0, types), near, slots.rcut)
    empty = torch.full_like(inside, -1)
    return torch.cat([torch.where(filled, inside, empty), a, b], dim=1).to(torch.int32)


def by_species_and_distance(rcut: float, n_types: int, n: int, i: Tensor, types_j: Tensor, vectors: Tensor) -> Sorted:
    """Sort the neighbours of n centres; pairs beyond the cutoff are none."""
    counts = torch.bincount(i, minlength=n)
    height = 1 + (int(counts.max()) if n > 0 else 0)
    first = torch.cumsum(counts, 0) - counts
    place = i * height + torch.arange(i.shape[0], device=i.device) - first[i]
    outside = torch.full((n * height, 3), 2.0 * rcut, dtype=vectors.dtype, device=i.device)
    v = outside.index_copy(0, place, vectors).view(n, height, 3)
    species = torch.full((n * height,), n_types, dtype=torch.int64, device=i.device)
    species = species.index_copy(0, place, types_j).view(n, height)
    r = torch.linalg.vector_norm(v, dim=2)
    species = torch.where(r < rcut, species, torch.full_like(species, n_types))
    order = torch.sort(species * (4.0 * rcut) + r, stable=True, dim=1)[1]
    species, r = species.gather(1, order), r.gather(1, order)
    r = torch.where(species < n_types, r, torch.full_like(r, float("inf")))
    ones = torch.ones_like(species)
    of_species = torch.zeros(n, n_types + 1, dtype=torch.int64, device=i.device).scatter_add(1, species, ones)
    start = torch.cumsum(of_species, 1) - of_species
    rank = torch.arange(height, device=i.device) - start.gather(1, species)
    v = v.gather(1, order.unsqueeze(2).expand(-1, -1, 3))
    return Sorted(order, species, rank, r, v, of_species[:, :n_types])


def axis_atoms(rules: Tensor, near: Sorted, rcut: float, collinear: float = COLLINEAR) -> Tuple[Tensor, Tensor]:
    """Both axis atoms of each centre, as pairs counted from the centre's first, [N, 1] each; -1 where there is none.

    Those that a rule [N, 2, 2] asks for come first, then those of that species that are farther, then all others;
    each time the nearest. The second one must not be collinear with the first.
    """
    a = (near.distance + _unwanted(rules[:, 0], near, rcut)).argmin(1, keepdim=True)
    r_a = near.vectors.gather(1, a.unsqueeze(2).expand(-1, -1, 3))
    cross = torch.linalg.cross(r_a.expand_as(near.vectors), near.vectors, dim=2)
    lengths = torch.linalg.vector_norm(r_a, dim=2) * torch.linalg.vector_norm(near.vectors, dim=2)
    flat = torch.linalg.vector_norm(cross, dim=2) <= collinear * lengths
    cost = near.distance + _unwanted(rules[:, 1], near, rcut)
    cost = torch.where(flat, torch.full_like(cost, float("inf")), cost)
    b = cost.argmin(1, keepdim=True)
    return _pair(near, a, near.distance), _pair(near, b, cost)


def _unwanted(rule: Tensor, near: Sorted, rcut: float) -> Tensor:
    """What keeps the neighbours [N, h] that a rule [N, 2] does not ask for behind the others."""
    species, rank = rule[:, :1], rule[:, 1:]
    wanted = (species < 0) | ((near.species == species) & (near.rank >= rank))
    return torch.where(wanted, 0.0, 2.0 * rcut)


def _pair(near: Sorted, column: Tensor, cost: Tensor) -> Tensor:
    pair = near.pair.gather(1, column)
    return torch.where(cost.gather(1, column).isinf(), torch.full_like(pair, -1), pair)
