"""Ridge regression of energies, forces and virials on monomials, with the ridge that suits frames set aside."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ase_deeppot.fitting.datasets import Batch, Dataset
from ase_deeppot.fitting.equations import energy_rows, force_and_virial_rows, unknowns
from ase_deeppot.fitting.least_squares import (
    Dual,
    Quadratic,
    energy_weights,
    force_weights,
    labelled,
    virial_weights,
    with_atoms,
)
from ase_deeppot.fitting.loss import Prefactors
from ase_deeppot.fitting.monomials import Monomials
from ase_deeppot.potential.deep_potential import DeepPotential

ATOMS_PER_UNKNOWN = 4  # whose forces are looked at: 12 equations for each, if there are so many
BATCH_ATOMS = 512
BATCHES = 8  # whose equations there is room for, beside the matrix
EVERY = 10  # of the frames, those that choose the ridge where none were set aside
RIDGES = range(-14, 1)  # powers of ten, of the mean curvature


class Equations(NamedTuple):
    """Errors that change by ``rows x`` with the unknowns x."""

    rows: Tensor  # [k, n]
    errors: Tensor  # [k], at x = 0; NaN where there is no label
    weights: Tensor  # [k], of their squares


class Regression(NamedTuple):
    """Equations for the weights of some monomials."""

    potential: DeepPotential
    layers: list[Monomials]
    weights: Prefactors
    start: Tensor  # [n], weights that a ridge holds others near
    counts: list[float]  # of the training frames, those with an energy, with forces, with a virial
    loss: Quadratic | Dual
    losses: Callable[[Tensor], Tensor]  # of changes [n, r], on the frames set aside, [r]

    def add(self, dataset: Dataset, frames: np.ndarray) -> None:
        """Add the equations of some frames. Each counts as much as one of the training frames, times its own weight."""
        for equations in _equations(self, dataset, frames, self.counts):
            self.loss.add(*equations)

    def solve(self, power: int) -> "Solution":
        """Weights, with the ridge that suits the frames set aside, looked for from ``10**power`` on."""
        if isinstance(self.loss, Dual):
            left, change = _best_of_all(self.loss, self.losses)
        else:
            power, left, change = _best(self._at, power)
        return Solution(self.start + change, power, left)

    def _at(self, ridge: float) -> tuple[float, Tensor]:
        """Loss on the frames set aside, and the change."""
        assert isinstance(self.loss, Quadratic)
        try:
            change = self.loss.least(ridge)
        except torch.linalg.LinAlgError:  # less than rounding errors are
            return np.inf, torch.zeros_like(self.start)
        return float(self.losses(change[:, None])), change


class Solution(NamedTuple):
    """What a regression has found."""

    weights: Tensor  # [n], of the monomials of each species and after them its bias
    power: int  # of ten, the ridge
    left: float  # loss on the frames set aside


def regression(potential: DeepPotential, layers: list[Monomials], train: Dataset, validation: Dataset | None,
               weights: Prefactors, start: Tensor) -> Regression:
    """The equations of as many of the training frames as the unknowns need, and of those that choose the ridge."""
    n = unknowns(layers)
    chosen, other, aside = _parts(train, validation, n)
    loss: Quadratic | Dual = Dual([], []) if _few(train, chosen, n) else Quadratic.zero(n)

    def losses(changes: Tensor) -> Tensor:
        return _losses(changes, _equations(made, other, aside, labelled(other, aside)))

    made = Regression(potential, layers, weights, start, labelled(train, chosen), loss, losses)
    made.add(train, chosen)
    return made


def memory(n: int, train: Dataset, validation: Dataset | None) -> float:
    """That it takes to solve for n unknowns, GB."""
    chosen, *_ = _parts(train, validation, n)
    k = _equation_count(train, chosen)
    return 8e-9 * (2 * k * (n + k) if _few(train, chosen, n) else n * (n + BATCHES * 3 * BATCH_ATOMS))


def _few(train: Dataset, chosen: np.ndarray, n: int) -> bool:
    """Whether two matrices of the equations' size, and all equations twice, are less than one of the unknowns' size."""
    return 3 * _equation_count(train, chosen) <= n


def _equation_count(dataset: Dataset, frames: np.ndarray) -> int:
    energy, forces, virial = dataset.summary.labelled[frames].T
    return int((energy + 3 * forces * dataset.counts[frames].sum(1) + 9 * virial).sum())


def _parts(train: Dataset, validation: Dataset | None, n: int) -> tuple[np.ndarray, Dataset, np.ndarray]:
    """Frames to find n weights from, and those, with their data set, that choose the ridge."""
    chosen = with_atoms(train, ATOMS_PER_UNKNOWN * n)
    if validation is not None:
        return chosen, validation, with_atoms(validation, n)
    aside = chosen[min(EVERY // 2, len(chosen) - 1) :: EVERY]
    return (np.setdiff1d(chosen, aside) if len(chosen) > 1 else chosen), train, aside


def _best_of_all(loss: Dual, losses: Callable[[Tensor], Tensor]) -> tuple[float, Tensor]:
    """Loss and change with the best ridge of all; losses are those on the frames set aside of changes [n, r]."""
    changes = loss.least([10.0**k for k in RIDGES])
    left, best = losses(changes).nan_to_num(np.inf).min(0)
    return float(left), changes[:, best]


def _best(at: Callable[[float], tuple[float, Tensor]], first: int) -> tuple[int, float, Tensor]:
    """The ridge, a power of ten, from which neither neighbour is better, from the first on to the better side.

    After it the loss and the change that it leads to.
    """
    found: dict[int, tuple[float, Tensor]] = {}

    def loss(k: int) -> float:
        if k not in found:
            found[k] = at(10.0**k)
        return found[k][0]

    k = first
    while loss(k) == np.inf and k + 1 in RIDGES:  # rounding leaves nothing of a smaller one, either
        k += 1
    while (best := min((n for n in (k, k - 1, k + 1) if n in RIDGES), key=loss)) != k:
        k = best
    return k, *found[k]


def _losses(changes: Tensor, equations: Iterator[Equations]) -> Tensor:
    """Sums of the squares that changes [n, r] leave, [r]."""
    total = changes.new_zeros(changes.shape[1])
    for rows, errors, weights in equations:
        there = ~errors.isnan()
        total += weights[there] @ (errors[there, None] + rows[there] @ changes).square()
    return total


def _equations(asked: Regression, dataset: Dataset, frames: np.ndarray, counts: list[float]) -> Iterator[Equations]:
    """What the energies, the forces and the virials of some frames ask of a change of the start, a batch at a time.

    Biases of the model count in the errors, its nets or polynomials do not. ``counts`` are how many frames have each.
    """
    potential, layers, weights = asked.potential, asked.layers, asked.weights

    def errors(rows: Tensor, labels: Tensor) -> Tensor:
        return rows @ asked.start - labels

    for batch in batches(potential, dataset, frames):
        bias = torch.zeros_like(batch.energies).index_add(0, batch.frame,
                                                          potential.fitting_net.energy_bias[batch.structures.types])
        of_frame = batch.sizes / 3.0  # 3 N forces, weighted by their mean
        energy = energy_rows(potential, layers, batch)
        yield Equations(energy, errors(energy, (batch.energies - bias) / batch.sizes),
                        of_frame * energy_weights(batch, weights.energy, counts[0]))
        force, virial = force_and_virial_rows(potential, layers, batch)
        yield Equations(force, errors(force, batch.forces.flatten()), force_weights(batch, weights.force, counts[1]))
        yield Equations(virial, errors(virial, batch.virials.flatten()),
                        of_frame.repeat_interleave(9) * virial_weights(batch, weights.virial, counts[2]))


def batches(potential: DeepPotential, dataset: Dataset, frames: np.ndarray) -> Iterator[Batch]:
    sizes = dataset.counts[frames].sum(1)
    group = (np.cumsum(sizes) - 1) // max(BATCH_ATOMS, int(sizes.max()))
    for g in np.unique(group):
        yield dataset.batch(frames[group == g], potential.descriptor.geometry())
