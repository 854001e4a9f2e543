"""Least squares: the loss as a quadratic function of what energies and forces are linear in."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ase_deeppot.fitting.datasets import Batch, Dataset


class Quadratic(NamedTuple):
    """``x . matrix x + 2 vector . x``, what a change x of the unknowns adds to the loss."""

    matrix: Tensor  # [n, n] float64
    vector: Tensor  # [n] float64

    @classmethod
    def zero(cls, n: int) -> "Quadratic":
        """Of n unknowns."""
        return cls(torch.zeros(n, n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64))

    def add(self, rows: Tensor, errors: Tensor, weights: Tensor) -> None:
        """Add, in place, the weighted squares of errors [k] that change by ``rows x``, rows [k, n]; NaN are none."""
        there = ~errors.isnan()
        root = weights[there].sqrt()
        rows, errors = rows[there] * root[:, None], errors[there] * root
        scaled = rows.numpy()
        self.matrix.add_(torch.from_numpy(scaled.T @ scaled))  # numpy sees that it is symmetric: half the work
        self.vector.add_(rows.t() @ errors)

    def at(self, change: Tensor) -> float:
        """Its value."""
        return float(change @ (self.matrix @ change) + 2.0 * (self.vector @ change))

    def least(self, ridge: float) -> Tensor:
        """Where it is least, with ``ridge`` times its mean curvature on each part of the change.

        Raises
        ------
        torch.linalg.LinAlgError
            If there is no such place, but for rounding errors.
        """
        curvature = self.matrix.diagonal().mean().clamp(min=torch.finfo(torch.float64).tiny)
        stiff = self.matrix.clone()
        stiff.diagonal().add_(ridge * curvature)
        factor = torch.linalg.cholesky_ex(stiff, check_errors=True).L
        return -torch.cholesky_solve(self.vector[:, None], factor)[:, 0]


def labelled(dataset: Dataset, frames: np.ndarray) -> list[float]:
    """How many of the frames have an energy, forces, a virial; at least one, so that it can be divided by."""
    return [max(1.0, float(n)) for n in dataset.summary.labelled[frames].sum(0)]


def spread(dataset: Dataset, most: int) -> np.ndarray:
    """At most so many frames, evenly over all."""
    return np.unique(np.linspace(0, len(dataset) - 1, min(len(dataset), most)).astype(int))


def with_atoms(dataset: Dataset, atoms: int) -> np.ndarray:
    """Frames, evenly over all, with so many atoms together."""
    return spread(dataset, -(-atoms * len(dataset) // int(dataset.counts.sum())))


def energy_weights(batch: Batch, prefactor: float, energies: float) -> Tensor:
    """Of the squared energy errors per atom in the loss, [B], where so many frames have an energy."""
    return (prefactor / energies * batch.weights).cpu()


def force_weights(batch: Batch, prefactor: float, forces: float) -> Tensor:
    """Of the squared force errors, [3 N], where so many frames have forces."""
    of_frame = (batch.weights / batch.sizes)[batch.frame]
    return (prefactor / (3.0 * forces) * of_frame * batch.force_weights).repeat_interleave(3).cpu()


def virial_weights(batch: Batch, prefactor: float, virials: float) -> Tensor:
    """Of the squared errors of virials, not per atom, [9 B], where so many frames have one."""
    return (prefactor / (9.0 * virials) * batch.weights / batch.sizes.square()).repeat_interleave(9).cpu()


