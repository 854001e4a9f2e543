"""Steps of an extended Kalman filter: each moves the weights to where a mean absolute error, linearised, is zero.

    g = dm/dw,  a = 1 / (lambda B + g . P g),  w <- w - a m P g,  P <- (P - a (P g) (P g)^T) / lambda,

with m the mean absolute error of the energies, of a part of the forces, or of the virials, each in turn and each with
the weights that the one before has left (S. Hu et al., RLEKF, AAAI 2023), times the root of its last prefactor in the
loss over that of the forces. P, the covariance of the weights, is kept in B blocks along the diagonal. Lambda, by which
older frames are forgotten, rises to 1.

It learns more from a frame than steps along a gradient do, at several times their cost and with memory for P: something
for small nets and few frames.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ase_deeppot.fitting import learning_curve
from ase_deeppot.fitting.config import LossConfig
from ase_deeppot.fitting.datasets import Batch
from ase_deeppot.fitting.loss import Deviations, Prefactors, deviations, errors_of
from ase_deeppot.fitting.processes import Processes
from ase_deeppot.potential.deep_potential import DeepPotential

BLOCK = 2048  # weights, at most, whose covariance with each other is kept
FORCE_PARTS = 4  # of the atoms of a batch, each with an update of its own
# Lambda <- RISE lambda + 1 - RISE. Slower, as published (0.9987), the covariances of what frames say little about grew
# until a rare frame threw the weights off (docs, Performance).
FIRST_LAMBDA, RISE = 0.98, 0.995

ErrorOf = Callable[[Deviations, Batch], Tensor]  # a mean absolute error of our share of a batch, []


class KalmanFilter:
    """The covariance of some weights, and what is made of it.

    Parameters
    ----------
    parameters : sequence of Parameter
        Moved in place by ``update``.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = parameters
        self.sizes = block_sizes([parameter.numel() for parameter in parameters])
        self.covariances: list[Tensor] = []  # P times `forgotten`; made by the first update: a preview needs none
        self.forgetting, self.forgotten = FIRST_LAMBDA, 1.0  # lambda, and the product of all there were

    def update(self, error: float) -> None:
        """Move the weights by what one error and its gradient, ``parameter.grad``, say."""
        gradient = torch.cat([torch.zeros_like(parameter).flatten() if parameter.grad is None else
                              parameter.grad.flatten() for parameter in self.parameters])
        parts = gradient.split(self.sizes)
        if not self.covariances:
            self.covariances = [torch.eye(len(part), dtype=part.dtype, device=part.device) for part in parts]
        gains = [covariance @ part / self.forgotten for covariance, part in zip(self.covariances, parts, strict=True)]
        spread = sum(float(part @ gain) for part, gain in zip(parts, gains, strict=True))
        scale = 1.0 / (self.forgetting * len(parts) + spread)
        for covariance, gain in zip(self.covariances, gains, strict=True):
            covariance.addr_(gain, gain, alpha=-scale * self.forgotten)
        self.forgotten *= self.forgetting
        self.forgetting = RISE * self.forgetting + 1.0 - RISE
        steps = torch.cat(gains).split([parameter.numel() for parameter in self.parameters])
        with torch.no_grad():
            for parameter, step in zip(self.parameters, steps, strict=True):
                parameter.sub_(step.view_as(parameter), alpha=scale * error)


class KalmanSteps:
    """Steps of a Kalman filter on batches of frames; see `steps.Steps`."""

    def __init__(self, model: DeepPotential, loss: LossConfig, seed: int, processes: Processes) -> None:
        self.model, self.seed, self.processes, self.scales = model, seed, processes, scales(loss)
        self.recentres, self.advice = False, ""  # the covariance is that of the weights as they are
        self.filter = KalmanFilter(list(model.parameters()))

    def step(self, number: int, batch: Batch | None, weights: Prefactors, rate: float,
             check: Callable[[float], None]) -> Tensor:
        """Updates with each error of a batch; the prefactors are the last ones throughout, and there is no rate."""
        device = next(self.model.parameters()).device
        sums = torch.zeros(6, dtype=torch.float64)
        for k, error_of in enumerate(self._errors(number, batch)):
            self.model.zero_grad(set_to_none=True)
            error = torch.zeros(7, dtype=torch.float64, device=device)
            if batch is not None:
                found = deviations(self.model, batch)
                value = error_of(found, batch)
                torch.autograd.backward(value)
                error = torch.cat([value.detach().reshape(1), learning_curve.sums_of(errors_of(found, batch))])
            error = self.processes.add_up(self.filter.parameters, error).cpu()
            check(float(error[0]))
            self.filter.update(float(error[0]))
            sums = error[1:] if k == 0 else sums
        return sums

    def _errors(self, number: int, batch: Batch | None) -> list[ErrorOf]:
        """Errors of a batch that there are labels for and that count, one after the other."""
        counts = [0.0, 0.0, 0.0] if batch is None else batch.labelled.tolist()
        here = [self.processes.any(count > 0) and scale > 0 for count, scale in zip(counts, self.scales, strict=True)]
        parts = [partial(_force_error, seed=(self.seed, number), part=k) for k in range(FORCE_PARTS)]
        kinds: list[list[ErrorOf]] = [[_energy_error], [*parts], [_virial_error]]
        return [_scaled(of_part, scale) for kind, scale, there in zip(kinds, self.scales, here, strict=True)
                for of_part in (kind if there else ())]

    def state(self) -> list[dict[str, Any]]:
        """What the next step depends on, for a checkpoint."""
        of = self.filter
        return [{"covariances": of.covariances, "forgetting": of.forgetting, "forgotten": of.forgotten}]

    def restore(self, state: list[dict[str, Any]]) -> None:
        """Go back to a checkpoint's."""
        device = next(self.model.parameters()).device
        self.filter.covariances = [covariance.to(device) for covariance in state[0]["covariances"]]
        self.filter.forgetting, self.filter.forgotten = state[0]["forgetting"], state[0]["forgotten"]

    def about(self) -> str:
        """What a user should know of it before it starts."""
        bytes_each = next(self.model.parameters()).element_size()
        size = sum(n * n for n in self.filter.sizes) * bytes_each / 1e9
        return f"Kalman filter: {sum(self.filter.sizes):,} weights in {len(self.filter.sizes)} blocks, {size:.2g} GB"


def block_sizes(sizes: Sequence[int]) -> list[int]:
    """How many weights each block has: small tensors that follow each other share one, large ones take several."""
    blocks, current = [], 0
    for size in sizes:
        if current and current + size > BLOCK:
            blocks.append(current)
            current = 0
        blocks += [BLOCK] * ((current + size - 1) // BLOCK)
        current = (current + size - 1) % BLOCK + 1
    return [*blocks, current]


def scales(loss: LossConfig) -> tuple[float, float, float]:
    """What errors of energies, forces and virials are multiplied with; forces with 1, if they count."""
    limits = loss.limit_pref_e, loss.limit_pref_f, loss.limit_pref_v
    unit = loss.limit_pref_f or max(limits) or 1.0
    energy, force, virial = ((limit / unit) ** 0.5 for limit in limits)
    return energy, force, virial


def _scaled(error_of: ErrorOf, scale: float) -> ErrorOf:
    return lambda found, batch: scale * error_of(found, batch)


def _energy_error(found: Deviations, batch: Batch) -> Tensor:
    return (batch.weights * found.energy.abs()).sum() / batch.labelled[0]


def _force_error(found: Deviations, batch: Batch, seed: tuple[int, int], part: int) -> Tensor:
    """Of a part of the atoms, so weighted that the mean of the parts is that of all."""
    mine = torch.from_numpy(_parts(batch, seed) == part).to(batch.frame.device)
    of_atom = batch.force_weights * (batch.weights / (3.0 * batch.sizes))[batch.frame]
    return FORCE_PARTS * (of_atom[:, None] * found.force.abs())[mine].sum() / batch.labelled[1]


def _parts(batch: Batch, seed: tuple[int, int]) -> np.ndarray:
    """Part of each atom, by chance; that of a frame's atoms does not depend on the other frames."""
    sizes = batch.sizes.to(torch.int64).tolist()
    return np.concatenate([np.random.default_rng((*seed, n)).permutation(n) for n in sizes]) % FORCE_PARTS


def _virial_error(found: Deviations, batch: Batch) -> Tensor:
    return (batch.weights * found.virial.abs().mean((1, 2))).sum() / batch.labelled[2]
