"""Least squares: the loss as a quadratic function of what energies and forces are linear in."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg import blas, lapack
from torch import Tensor

from ase_deeppot.fitting.datasets import Batch, Dataset

COLUMNS = 256  # of a matrix, moved at a time


class Quadratic(NamedTuple):
    """``x . A x + 2 b . x``, what a change x of the unknowns adds to the loss.

    There may be so many unknowns that a second matrix has no room. A is symmetric: its upper triangle is kept, and
    the lower one is room for factors.
    """

    matrix: np.ndarray  # [n, n] float64, column by column; its upper triangle is A
    vector: np.ndarray  # [n] float64, b

    @classmethod
    def zero(cls, n: int) -> "Quadratic":
        """Of n unknowns."""
        return cls(np.zeros((n, n), order="F"), np.zeros(n))

    def add(self, rows: Tensor, errors: Tensor, weights: Tensor) -> None:
        """Add, in place, the weighted squares of errors [k] that change by ``rows x``, rows [k, n]; NaN are none."""
        scaled, left = _weighted(rows, errors, weights)
        if len(scaled):
            blas.dsyrk(1.0, scaled.T, beta=1.0, c=self.matrix, overwrite_c=True)
            self.vector[:] += scaled.T @ left

    def at(self, change: Tensor) -> float:
        """Its value."""
        x = change.numpy()
        return float(x @ blas.dsymv(1.0, self.matrix, x) + 2.0 * (self.vector @ x))

    def least(self, ridge: float) -> Tensor:
        """Where it is least, with ``ridge`` times its mean curvature on each part of the change.

        Raises
        ------
        torch.linalg.LinAlgError
            If there is no such place, but for rounding errors.
        """
        diagonal = self.matrix.diagonal().copy()
        _mirror(self.matrix)
        np.fill_diagonal(self.matrix, diagonal + ridge * max(diagonal.mean(), np.finfo(float).tiny))
        _, failed = lapack.dpotrf(self.matrix, lower=True, clean=False, overwrite_a=True)
        x = None if failed else lapack.dpotrs(self.matrix, self.vector, lower=True)[0]
        np.fill_diagonal(self.matrix, diagonal)
        if x is None:
            raise torch.linalg.LinAlgError("expected a positive curvature in every direction, got another among the "
                                           f"first {failed} of {len(diagonal)} unknowns")
        return -torch.from_numpy(x)


class Dual(NamedTuple):
    """The same loss, from fewer equations than unknowns: a matrix of their number instead."""

    rows: list[np.ndarray]  # [k, n] float64 each, and
    errors: list[np.ndarray]  # [k], by the roots of their weights

    def add(self, rows: Tensor, errors: Tensor, weights: Tensor) -> None:
        """As that of a :class:`Quadratic`."""
        scaled, left = _weighted(rows, errors, weights)
        self.rows.append(scaled)
        self.errors.append(left)

    def least(self, ridges: Sequence[float]) -> Tensor:
        """As that of a :class:`Quadratic`, with each ridge, [n, r]: ``-R^T (R R^T + ridge)^-1 errors``.

        Where rounding leaves no solution, NaN.
        """
        rows, errors = np.concatenate(self.rows), np.concatenate(self.errors)
        gram = rows @ rows.T
        curvature = max(gram.trace() / rows.shape[1], np.finfo(float).tiny)
        solved = np.full((len(gram), len(ridges)), np.nan)
        for k, ridge in enumerate(ridges):
            stiff = gram.copy()
            stiff.flat[:: len(gram) + 1] += ridge * curvature
            factor, failed = lapack.dpotrf(stiff, lower=True, overwrite_a=True)
            if not failed:
                solved[:, k] = lapack.dpotrs(factor, errors, lower=True)[0]
        return -torch.from_numpy(rows.T @ solved)


def _weighted(rows: Tensor, errors: Tensor, weights: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Equations that have a label, by the roots of their weights."""
    there = ~errors.isnan()
    root = weights[there].sqrt()
    return (rows[there] * root[:, None]).numpy(), (errors[there] * root).numpy()


def _mirror(matrix: np.ndarray) -> None:
    """Copy the upper triangle to the lower one, in place, some columns at a time."""
    for start in range(0, len(matrix), COLUMNS):
        stop = start + COLUMNS
        square = np.triu(matrix[start:stop, start:stop])
        matrix[start:stop, start:stop] = square + np.triu(square, 1).T
        matrix[stop:, start:stop] = matrix[start:stop, stop:].T


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


