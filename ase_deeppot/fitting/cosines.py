"""Layers of random cosines, in which a net's output is linear: a Gaussian process of many terms.

    E_i = w . cos(x_i W + b)

with W drawn from a normal distribution is, for many cosines, regression with the kernel
``exp(-|S (x - x')|^2 / 2 l^2)`` (A. Rahimi, B. Recht, NIPS 2007), S S^T the covariance of W. The metric S is learnt
from what was found with the one before: directions along which the energy changes much become long
(A. Radhakrishnan et al., Science 383, 1461, 2024).
"""

from typing import NamedTuple

import torch
from torch import Tensor

LENGTH = 12.0  # l, the kernel's range, over the spread of all atoms
POWER = 0.25  # of the mean square gradient, in the metric; of its root, 0.5, finds too few directions
LEAST = 1e-12  # of the largest eigenvalue, against negative ones


class Cosines(NamedTuple):
    """Of one species."""

    frequencies: Tensor  # [width, M] float64
    phases: Tensor  # [M] float64

    def values(self, x: Tensor) -> Tensor:
        """Of inputs [n, width], [n, M]."""
        return torch.cos(torch.addmm(self.phases, x, self.frequencies))

    def slopes(self, x: Tensor) -> Tensor:
        """Derivative of each cosine by its argument, [n, M]."""
        return -torch.sin(torch.addmm(self.phases, x, self.frequencies))

    def gradient(self, x: Tensor, weights: Tensor) -> Tensor:
        """Of ``w . values``, [n, width]."""
        return (self.slopes(x) * weights) @ self.frequencies.t()


def draw(metric: Tensor, x: Tensor, count: int, generator: torch.Generator) -> Cosines:
    """Random cosines that know distances by ``metric`` [width, k], over what atoms [n, width] are apart by it."""
    apart = ((x - x.mean(0)) @ metric).square().sum(1).mean().sqrt()
    if not apart > 0.0:  # atoms that are all alike
        apart = torch.ones_like(apart)
    normal = torch.randn(metric.shape[1], count, generator=generator, dtype=torch.float64)
    phases = 2.0 * torch.pi * torch.rand(count, generator=generator, dtype=torch.float64)
    return Cosines(metric @ normal / (LENGTH * apart), phases)


def first_metric(x: Tensor) -> Tensor:
    """Of atoms [n, width]: each component divided by the root of its spread, half way to all being equal."""
    spread = ((x - x.mean(0)).square().sum(0) / max(1, len(x))).sqrt()
    largest = spread.max()
    return torch.diag((spread + 1e-8 * largest).rsqrt()) if largest > 0.0 else torch.eye(x.shape[1], dtype=x.dtype)


def metric_of(gradients: Tensor) -> Tensor:
    """A power of the mean outer product of the gradients [n, width] of the energy."""
    values, vectors = torch.linalg.eigh(gradients.t() @ gradients / max(1, len(gradients)))
    return vectors * values.clamp(min=LEAST * float(values[-1])) ** POWER
