"""Monomials of a net's input, in which its output is linear: regression with a Gaussian kernel, by its largest terms.

    E_i = sum_m w_m phi_m(z_i),   phi_m = z_a z_b z_c / sqrt(m!),   z_0 = 1,   z = V^T S (x - <x>) / l

For smooth functions the kernel ``exp(-|S (x - x')|^2 / 2 l^2)`` is ``exp(z . z')`` but for a factor near one, and that
the sum of all ``phi_m(z) phi_m(z')``, m! the product of the factorials of a monomial's powers. Those are taken that
vary most, with V the directions of the atoms' spread. The metric S is learnt from what was found with the one before:
directions along which the energy changes much become long (A. Radhakrishnan et al., Science 383, 1461, 2024).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

LENGTH = 12.0  # l, the kernel's range, over the spread of all atoms
POWER = 0.25  # of the mean square gradient, in the metric; of its root, 0.5, finds too few directions
LEAST = 1e-12  # of the largest eigenvalue, against negative ones
ROOM = 2**22  # numbers in memory at a time, where monomials change
BISECTIONS = 100  # until a threshold leaves the right number of terms


class Monomials(NamedTuple):
    """Of one species."""

    directions: Tensor  # [width, k] float64
    shift: Tensor  # [k] float64, z = x directions + shift
    pairs: Tensor  # [2, R] int64, a <= b of the runs of monomials; 0 is the constant
    runs: Tensor  # [2, R] int64, first c >= b of each run, and the one after the last
    powers: Tensor  # [3, M] int64, a, b and c of each monomial, run by run
    scale: Tensor  # [M] float64, 1 / sqrt(m!)

    def inputs(self, x: Tensor) -> Tensor:
        """z with the constant before it, [n, k + 1], of inputs [n, width]."""
        z = torch.addmm(self.shift, x, self.directions)
        return torch.cat([z.new_ones(len(z), 1), z], dim=1)

    def values(self, x: Tensor) -> Tensor:
        """Of inputs [n, width], [n, M]."""
        a, b, c = self._factors(x)
        return a * b * c * self.scale

    def slopes(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Derivative of each monomial by each of its three factors, [n, M]."""
        a, b, c = self._factors(x)
        return b * c * self.scale, a * c * self.scale, a * b * self.scale

    def _factors(self, x: Tensor) -> list[Tensor]:
        """z_a, z_b and z_c of each monomial, [n, M]."""
        z = self.inputs(x)
        return [z[:, power] for power in self.powers]

    def along(self, change: Tensor, slopes: Sequence[Tensor]) -> Tensor:
        """What r changes of c atoms do to each monomial's sum over these, [M, r].

        The inputs z change by [k, r, c], and slopes are [c, M].
        """
        result = change.new_zeros(len(self.scale), change.shape[1])
        change, together = torch.nn.functional.pad(change, [0, 0, 0, 0, 1, 0]), max(1, ROOM // change[0].numel())
        for power, slope in zip(self.powers, slopes, strict=True):
            for some in power.nonzero()[:, 0].split(together):  # the constant does not change
                moved = torch.bmm(change.index_select(0, power[some]), slope.t()[some, :, None])
                result.index_add_(0, some, moved[:, :, 0])
        return result

    def gradient(self, x: Tensor, weights: Tensor) -> Tensor:
        """Of ``values . w``, [n, width]."""
        bar = x.new_zeros(len(x), len(self.shift) + 1)
        for power, slope in zip(self.powers, self.slopes(x), strict=True):
            bar.index_add_(1, power, slope * weights)
        return bar[:, 1:] @ self.directions.t()


def monomials(metric: Tensor, x: Tensor, count: int) -> Monomials:
    """Monomials, ``count`` at most, of what atoms [n, width] are apart by ``metric`` [width, k]."""
    mean = x.sum(0) / max(1, len(x))
    apart = ((x - mean) @ metric).square().sum(1).mean().sqrt()
    if not apart > 0.0:  # atoms that are all alike
        apart = torch.ones_like(apart)
    scaled = metric / (LENGTH * apart)
    y = (x - mean) @ scaled
    spread, vectors = torch.linalg.eigh(y.t() @ y / max(1, len(y)))
    pairs, runs = _runs(spread.flip(0).clamp(min=0.0).numpy(), count)
    k = int(runs[1].max()) - 1
    directions = scaled @ vectors.flip(1)[:, :k]
    powers = np.concatenate([np.repeat(pairs, runs[1] - runs[0], axis=1), [_each(runs)]])
    return Monomials(directions, -mean @ directions, torch.from_numpy(pairs), torch.from_numpy(runs),
                     torch.from_numpy(powers), torch.from_numpy(_scale(powers)))


def of_polynomial(directions: Tensor, shift: Tensor, pairs: Tensor, places: Tensor) -> Monomials:
    """The monomials of a model's polynomial, of what its layer makes of the input."""
    count = pairs.shape[1]
    run, last = places % count, places // count
    lengths = torch.bincount(run, minlength=count)
    first = last[lengths.cumsum(0) - lengths]
    powers = torch.cat([pairs[:, run], last[None]])
    return Monomials(directions, shift, pairs, torch.stack([first, first + lengths]), powers,
                     torch.from_numpy(_scale(powers.numpy())))


def _runs(spread: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs [2, R] and runs [2, R] of ``count`` monomials at most, those of the largest products of mean squares."""
    spread = np.concatenate([[1.0], spread[spread > 0.0]])
    lowest, highest = -100.0, 1.0  # powers of ten
    for _ in range(BISECTIONS):
        middle = 0.5 * (lowest + highest)
        _, runs = _above(spread, 10.0**middle)
        lowest, highest = (lowest, middle) if (runs[1] - runs[0]).sum() <= count else (middle, highest)
    pairs, runs = _above(spread, 10.0**highest)
    return (pairs, runs) if runs.size else (np.zeros((2, 1), np.int64), np.array([[1], [2]]))  # none that differ


def _above(spread: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Of falling mean squares of the inputs, the runs of those products of three that are not below a threshold."""
    a, b = np.triu_indices(len(spread))
    first = np.maximum(b, 1)  # without the constant alone
    with np.errstate(divide="ignore"):
        least = threshold / (spread[a] * spread[b])
    end = len(spread) - np.searchsorted(spread[::-1], least)
    some = end > first
    return np.stack([a, b])[:, some], np.stack([first, end])[:, some]


def _each(runs: np.ndarray) -> np.ndarray:
    """All numbers of all runs, run by run."""
    lengths = runs[1] - runs[0]
    return np.arange(lengths.sum()) + np.repeat(runs[0] - (np.cumsum(lengths) - lengths), lengths)


def _scale(powers: np.ndarray) -> np.ndarray:
    """1 / sqrt(m!); the constant counts for nothing."""
    a, b, c = powers
    twice = ((a == b) & (b > 0)) | ((b == c) & (b > 0))
    thrice = (a == b) & (b == c) & (a > 0)
    return np.where(thrice, 6.0, np.where(twice, 2.0, 1.0)) ** -0.5


def first_metric(x: Tensor) -> Tensor:
    """Of atoms [n, width]: each component divided by the root of its spread, half way to all being equal."""
    spread = ((x - x.mean(0)).square().sum(0) / max(1, len(x))).sqrt()
    largest = spread.max()
    return torch.diag((spread + 1e-8 * largest).rsqrt()) if largest > 0.0 else torch.eye(x.shape[1], dtype=x.dtype)


def metric_of(gradients: Tensor) -> Tensor:
    """A power of the mean outer product of the gradients [n, width] of the energy."""
    values, vectors = torch.linalg.eigh(gradients.t() @ gradients / max(1, len(gradients)))
    return vectors * values.clamp(min=LEAST * float(values[-1])) ** POWER
