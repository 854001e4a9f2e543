"""What energies, forces and virials are of single monomials: the equations that the weights of these have to fulfil."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ase_deeppot.fitting.datasets import Batch
from ase_deeppot.fitting.input_slopes import centres, slopes
from ase_deeppot.fitting.monomials import Monomials
from ase_deeppot.potential.deep_potential import DeepPotential
from ase_deeppot.potential.descriptor import Neighbors

CENTRES = 16  # of a species in a frame, whose derivatives are in memory at a time


def unknowns(layers: list[Monomials]) -> int:
    """Weights of the monomials of all species, and a bias of each."""
    return sum(len(layer.scale) + 1 for layer in layers)


def energy_rows(potential: DeepPotential, layers: list[Monomials], batch: Batch) -> Tensor:
    """Energy per atom of each frame, [B, n]: of each monomial, and of a bias after those of its species."""
    columns = []
    for t, layer in enumerate(layers):
        mine = batch.structures.types == t
        x = centres(potential, t, batch.environment.features[mine]).x
        values = torch.cat([layer.values(x), x.new_ones(len(x), 1)], dim=1)
        columns.append(values.new_zeros(len(batch.sizes), values.shape[1]).index_add(0, batch.frame[mine], values))
    return torch.cat(columns, dim=1) / batch.sizes[:, None]


def force_and_virial_rows(potential: DeepPotential, layers: list[Monomials], batch: Batch) -> tuple[Tensor, Tensor]:
    """Forces [3 N, n] and virials [9 B, n], of each monomial and of the biases, which exert none.

    Virials are zero where no frame has one.
    """
    n, start = unknowns(layers), 0
    force = torch.zeros(len(batch.structures.types), 3, n, dtype=torch.float64)
    virial = torch.zeros(len(batch.sizes), 9, n, dtype=torch.float64)
    for t, layer in enumerate(layers):
        columns = slice(start, start + len(layer.scale))
        for frame, atoms, change, x in _changes(potential, t, layer, batch):
            rows, size = layer.along(change, layer.slopes(x)).t(), 3 * (atoms.stop - atoms.start)
            force[atoms, :, columns] += rows[:size].unflatten(0, (-1, 3))
            if len(rows) > size:
                virial[frame, :, columns] += rows[size:]
        start += len(layer.scale) + 1
    return force.flatten(0, 1), virial.flatten(0, 1)


class Changes(NamedTuple):
    """What happens to some centres of one species, in one frame."""

    frame: int
    atoms: slice  # of the frame
    change: Tensor  # [k, 3 N, c], of the monomials' inputs, as forces have it; with virials [k, 3 N + 9, c]
    x: Tensor  # [c, width], the net's input


def _changes(potential: DeepPotential, t: int, layer: Monomials, batch: Batch) -> Iterator[Changes]:
    types, i, j, vectors = batch.structures
    mine, place = (types == t).nonzero()[:, 0], torch.full_like(types, -1)
    place[mine] = torch.arange(len(mine))
    found, centre = centres(potential, t, batch.environment.features[mine]), place[i]
    for frame, atoms in enumerate(_frames(batch)):
        for some in place[atoms][types[atoms] == t].split(CENTRES):
            chosen = torch.isin(centre, some).nonzero()[:, 0]
            if len(chosen) == 0:
                continue
            pairs = Neighbors(types, centre[chosen], types[j[chosen]], vectors[chosen])
            slope, own = slopes(potential, found, pairs) @ layer.directions, pairs.i - some[0]
            ends = i[chosen] - atoms.start, j[chosen] - atoms.start
            change = [_by_atoms(slope, own, ends, len(some), atoms.stop - atoms.start)]
            if not batch.virials.isnan().all():
                change.append(_by_strain(slope, own, pairs.vectors, len(some)))
            yield Changes(frame, atoms, torch.cat(change, dim=1).permute(2, 1, 0).contiguous(), found.x[some])


def _frames(batch: Batch) -> Iterator[slice]:
    """Atoms of each."""
    start = 0
    for size in batch.sizes.long().tolist():
        yield slice(start, start + size)
        start += size


def _by_atoms(slope: Tensor, own: Tensor, ends: tuple[Tensor, Tensor], centres: int, atoms: int) -> Tensor:
    """From slopes by the pairs' vectors [E, 3, k] to those by minus the atoms' positions, [c, 3 N, k]."""
    change = slope.new_zeros(centres, atoms, 3, slope.shape[2])
    change.index_put_((own, ends[0]), slope, accumulate=True)
    change.index_put_((own, ends[1]), -slope, accumulate=True)
    return change.flatten(1, 2)


def _by_strain(slope: Tensor, own: Tensor, vectors: Tensor, centres: int) -> Tensor:
    """From the same to slopes by minus the strain, [c, 9, k]."""
    pairs = -(vectors[:, :, None, None] * slope[:, None]).flatten(1, 2)
    return slope.new_zeros(centres, 9, slope.shape[2]).index_add_(0, own, pairs)
