"""What energies, forces and virials are of single monomials: the equations that the weights of these have to fulfil."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ase_deeppot.fitting.datasets import Batch
from ase_deeppot.fitting.input_slopes import centres, slopes
from ase_deeppot.fitting.monomials import Monomials
from ase_deeppot.potential.deep_potential import DeepPotential
from ase_deeppot.potential.descriptor import Neighbors

PAIRS = 256  # whose derivatives are in memory at a time


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
    structures, n = batch.structures, unknowns(layers)
    force = torch.zeros(len(structures.types), 3, n, dtype=torch.float64)
    virial, start = torch.zeros(len(batch.sizes), 9, n, dtype=torch.float64), 0
    for t, layer in enumerate(layers):
        columns = slice(start, start + len(layer.scale))
        for chosen, gradient in _gradients(potential, t, layer, batch):
            i, j, v = (part[chosen] for part in structures[1:])
            force[:, :, columns].index_add_(0, i, gradient).index_add_(0, j, -gradient)
            if not batch.virials.isnan().all():
                pairs = -(v[:, :, None, None] * gradient[:, None]).flatten(1, 2)
                virial[:, :, columns].index_add_(0, batch.frame[j], pairs)
        start += len(layer.scale) + 1
    return force.flatten(0, 1), virial.flatten(0, 1)


def _gradients(potential: DeepPotential, t: int, layer: Monomials, batch: Batch) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs whose centres are of species t, and the gradients of the monomials by their vectors, [E, 3, M]."""
    types, i, j, vectors = batch.structures
    mine = (types == t).nonzero()[:, 0]
    found, place = centres(potential, t, batch.environment.features[mine]), torch.zeros_like(types)
    place[mine] = torch.arange(len(mine))
    by_factor = layer.slopes(found.x)
    own = (types[i] == t).nonzero()[:, 0]
    for chosen in own.split(PAIRS) if len(own) else ():
        pairs = Neighbors(types, place[i[chosen]], types[j[chosen]], vectors[chosen])
        at = [slope[pairs.i][:, None] for slope in by_factor]
        yield chosen, layer.along(slopes(potential, found, pairs), at)
