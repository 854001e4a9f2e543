"""The output layers by least squares: the loss is quadratic in their weights, and its minimum known.

With the rest of the model as it is, energies, forces and virials are linear in the weights w and biases b of the
output layers: ``E_i = w_t . h_i + b_t`` with the last hidden units h_i, and the forces are the sum of what each unit
alone would exert, times its weight. Steps along gradients leave energies off by what all frames share, or a few rare
ones do not; this does not.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ase_deeppot.fitting.datasets import Batch, Dataset
from ase_deeppot.fitting.least_squares import (
    Quadratic,
    energy_weights,
    force_weights,
    labelled,
    spread,
    virial_weights,
    with_atoms,
)
from ase_deeppot.fitting.loss import Prefactors
from ase_deeppot.potential.deep_potential import DeepPotential
from ase_deeppot.potential.descriptor import Structures
from ase_deeppot.potential.local_frame import LocalFrameDescriptor

MOST_DIRECTIONS = 32  # of the hidden units of a species, along which its weights change: those that vary most
ATOMS_PER_UNKNOWN = 8  # whose forces are looked at: 24 equations for each
ATOMS_TOGETHER = 128, 512  # between which; data of fewer atoms have no halves, and are left alone
BATCHES = 4  # that halves are made of, as far as that leaves the atoms together
RIDGES = (1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)  # of the mean curvature, against large changes


class Sample(NamedTuple):
    """What is looked at of the data, evenly spread."""

    frames: int  # whose energies are, at most
    atoms: int  # whose forces are, at least


ON_THE_WAY, IN_THE_END = Sample(500, 1000), Sample(2000, 3000)


@torch.no_grad()
def fit_output_layers(model: DeepPotential, dataset: Dataset, prefactors: Prefactors,
                      sample: Sample = IN_THE_END) -> float:
    """Set the output layers to where the loss is least; the rest of the model stays.

    Unknown are the biases, and the weights along at most 32 directions of a species' hidden units. Energies of many
    frames are taken, forces and virials of fewer: at least eight atoms for each unknown. How much the weights may
    change for it is what, found from one half of the frames, does best for the other.

    Parameters
    ----------
    model : DeepPotential
        Changed in place.
    dataset : Dataset
        Frames that it was trained on.
    prefactors : Prefactors
        p_e, p_f, p_v of the loss.
    sample : Sample
        How much of the data is looked at.

    Returns
    -------
    float
        What is gained of the loss on these frames; 0 if nothing is, and the model is left alone.
    """
    directions = _directions(model, dataset, sample.atoms)
    one, other = halves = _quadratics(model, dataset, prefactors, directions, sample)
    gains = {ridge: -_for_the_other(halves, ridge) for ridge in RIDGES}
    ridge = max(RIDGES, key=gains.__getitem__)
    if gains[ridge] <= 0.0:
        return 0.0
    whole = Quadratic(one.matrix + other.matrix, one.vector + other.vector)
    change = whole.least(ridge)
    _move(model, directions, change)
    return -whole.at(change)


def _for_the_other(halves: tuple[Quadratic, Quadratic], ridge: float) -> float:
    """What the change that suits one half does to the loss of the other, both ways; infinite if there is none."""
    one, other = halves
    try:
        value = other.at(one.least(ridge)) + one.at(other.least(ridge))
    except torch.linalg.LinAlgError:
        return float("inf")
    return value if value == value else float("inf")


def _directions(model: DeepPotential, dataset: Dataset, atoms: int) -> list[Tensor]:
    """Orthogonal directions of each species' hidden units, [H, R] float64, on the device of the model."""
    outputs = output_layers(model)
    squares = [output.weight.new_zeros(output.weight.shape[1], output.weight.shape[1], dtype=torch.float64)
               for output in outputs]
    for batch in _batches(dataset, _enough(dataset, sum(map(len, squares)), atoms), model):
        for t, square in enumerate(squares):
            hidden = _hidden(model, t, batch.environment.features[batch.structures.types == t]).to(torch.float64)
            square += hidden.t() @ hidden
    return [torch.linalg.eigh(square)[1][:, -MOST_DIRECTIONS:] for square in squares]


def _quadratics(model: DeepPotential, dataset: Dataset, prefactors: Prefactors,
                directions: list[Tensor], sample: Sample) -> tuple[Quadratic, Quadratic]:
    """The loss of every other batch, and of those between, as functions of a change along the directions."""
    n = sum(of_species.shape[1] + 1 for of_species in directions)
    halves = Quadratic.zero(n), Quadratic.zero(n)
    chosen = spread(dataset, sample.frames)
    energies, _, _ = labelled(dataset, chosen)
    for k, batch in enumerate(_batches(dataset, chosen, model)):
        rows, now = _energy_rows(model, directions, batch)
        errors = now - (batch.energies / batch.sizes).cpu()
        halves[k % 2].add(rows, errors, energy_weights(batch, prefactors.energy, energies))
    chosen = _enough(dataset, n, sample.atoms)
    _, forces, virials = labelled(dataset, chosen)
    for k, batch in enumerate(_batches(dataset, chosen, model)):
        force, virial = _force_and_virial_rows(model, directions, batch)
        halves[k % 2].add(*force, force_weights(batch, prefactors.force, forces))
        halves[k % 2].add(*virial, virial_weights(batch, prefactors.virial, virials))
    return halves


def _enough(dataset: Dataset, unknowns: int, atoms: int) -> np.ndarray:
    """Frames with so many atoms together, and as many as the unknowns need."""
    return with_atoms(dataset, max(atoms, ATOMS_PER_UNKNOWN * unknowns))


def _batches(dataset: Dataset, frames: np.ndarray, model: DeepPotential) -> Iterator[Batch]:
    """Frames side by side, some hundred atoms together."""
    device, sizes = str(next(model.parameters()).device), dataset.counts[frames].sum(1)
    together = int(np.clip(sizes.sum() // BATCHES, *ATOMS_TOGETHER))
    group = (np.cumsum(sizes) - 1) // max(together, int(sizes.max()))
    for g in np.unique(group):
        yield dataset.batch(frames[group == g], model.descriptor.geometry(), device)


def output_layers(model: DeepPotential) -> list[nn.Linear]:
    """Those of all species."""
    return [model.fitting_net.output(t) for t in range(model.descriptor.n_types)]


def _energy_rows(model: DeepPotential, directions: list[Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
    """How the energy per atom of each frame changes along the directions, [B, n], and what it is, [B]."""
    rows, now = [], torch.zeros_like(batch.energies)
    for t, output in enumerate(output_layers(model)):
        mine = batch.structures.types == t
        frame = batch.frame[mine]
        hidden = _hidden(model, t, batch.environment.features[mine]).to(torch.float64)
        hidden = torch.cat([hidden, hidden.new_ones(len(hidden), 1)], dim=1)
        mean = hidden.new_zeros(len(now), hidden.shape[1]).index_add(0, frame, hidden) / batch.sizes[:, None]
        rows += [mean[:, :-1] @ directions[t], mean[:, -1:]]
        bias = output.bias.to(torch.float64) + model.fitting_net.energy_bias[t]
        now += mean @ torch.cat([output.weight[0].to(torch.float64), bias])
    return torch.cat(rows, dim=1).cpu(), now.cpu()


def _hidden(model: DeepPotential, t: int, features: Tensor) -> Tensor:
    """Last hidden units of atoms of species t, [n, H]."""
    descriptor, net = model.descriptor, model.fitting_net
    if isinstance(descriptor, LocalFrameDescriptor):
        x = descriptor.normalised(t, features)
    else:
        d = descriptor([features if s == t else features[:0] for s in range(descriptor.n_types)])[t]
        x = ((d.to(torch.float64) - net.mean[t]) / net.scale).to(d.dtype)
    hidden: Tensor = net.nets[t][0](x)  # type: ignore[index]
    return hidden


def _force_and_virial_rows(model: DeepPotential, directions: list[Tensor],
                           batch: Batch) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """How forces change along the directions, [3 N, n], and how far they are off, [3 N]; the same of virials, [9 B]."""
    features, changes = batch.environment.features, []
    now = _forces_and_virials(model, batch, model.respond(batch.structures.types, features)[1])
    for t, of_species in enumerate(directions):
        seen = batch._replace(structures=_seen_by(model, t, batch.structures))
        changes += [_forces_and_virials(model, seen, k) for k in _slopes(model, t, batch, of_species)]
        changes.append((torch.zeros_like(now[0]), torch.zeros_like(now[1])))  # a bias exerts no force
    forces, virials = (torch.stack(part, dim=1) for part in zip(*changes, strict=True))
    return (forces, now[0] - batch.forces.flatten().cpu()), (virials, now[1] - batch.virials.flatten().cpu())


def _slopes(model: DeepPotential, t: int, batch: Batch, directions: Tensor) -> Iterator[Tensor]:
    """K = dE/dfeatures if the output layer of species t were one of the directions, and the others zero.

    What is yielded is overwritten by the next.
    """
    mine, k = batch.structures.types == t, torch.zeros_like(batch.environment.features)
    with torch.enable_grad():
        features = batch.environment.features[mine].requires_grad_()
        hidden = _hidden(model, t, features)
    for direction in directions.t().to(hidden.dtype):
        k[mine], = torch.autograd.grad(hidden, features, direction.expand_as(hidden), retain_graph=True)
        yield k


def _seen_by(model: DeepPotential, t: int, structures: Structures) -> Structures:
    """Of the pairs those that atoms of species t have; local frames count on all being there."""
    if isinstance(model.descriptor, LocalFrameDescriptor):
        return structures
    chosen = structures.types[structures.i] == t
    return Structures(structures.types, *(part[chosen] for part in structures[1:]))


def _forces_and_virials(model: DeepPotential, batch: Batch, k: Tensor) -> tuple[Tensor, Tensor]:
    """[3 N] and [9 B] on the CPU, from K = dE/dfeatures."""
    geometry = model.descriptor.geometry()
    forces, virials = geometry.forces_and_virials(batch.structures, batch.environment, k)
    of_frames = virials.new_zeros(len(batch.sizes), 3, 3).index_add(0, batch.frame, virials)
    return forces.flatten().cpu(), of_frames.flatten().cpu()


def _move(model: DeepPotential, directions: list[Tensor], change: Tensor) -> None:
    """Change the output layers along the directions; the biases stand after the weights, species by species."""
    outputs, start = output_layers(model), 0
    for output, of_species in zip(outputs, directions, strict=True):
        stop = start + of_species.shape[1]
        output.weight.add_((of_species @ change[start:stop].to(of_species.device)).to(output.weight.dtype))
        output.bias.add_(change[stop].to(output.bias.device, output.bias.dtype))
        start = stop + 1
