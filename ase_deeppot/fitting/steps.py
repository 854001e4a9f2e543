"""What makes the steps of a training run: gradients of the loss, or a Kalman filter."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from ase_deeppot.fitting import learning_curve
from ase_deeppot.fitting.config import FittingConfig
from ase_deeppot.fitting.datasets import Batch
from ase_deeppot.fitting.kalman import KalmanSteps
from ase_deeppot.fitting.loss import Prefactors, loss
from ase_deeppot.fitting.optimizers import optimizers
from ase_deeppot.fitting.processes import Processes
from ase_deeppot.potential.deep_potential import DeepPotential


class Steps(Protocol):
    """A way to move the weights."""

    recentres: bool  # whether the descriptors' mean may be taken anew on the way
    advice: str  # what to change if the loss stops being finite

    def step(self, number: int, batch: Batch | None, weights: Prefactors, rate: float,
             check: Callable[[float], None]) -> Tensor:
        """One step.

        Parameters
        ----------
        number : int
            Steps that were made before.
        batch : Batch or None
            This process's share of its frames; None where it is empty.
        weights : Prefactors
            p_e, p_f, p_v of the loss.
        rate : float
            Learning rates, relative to those of the start.
        check : callable
            Gets each number that must be finite, with the gradients there, before the weights move.

        Returns
        -------
        Tensor, [6] float64
            Sums of the learning curve, of all processes.
        """
        ...

    def state(self) -> list[dict[str, Any]]:
        """What the next step depends on, for a checkpoint."""
        ...

    def restore(self, state: list[dict[str, Any]]) -> None:
        """Go back to a checkpoint's."""
        ...

    def about(self) -> str:
        """What a user should know of it before it starts; may be empty."""
        ...


def steps_of(config: FittingConfig, model: DeepPotential, processes: Processes) -> Steps:
    """The steps that ``learning_rate.optimizer`` names."""
    if config.learning_rate.optimizer == "kalman":
        return KalmanSteps(model, config.loss, config.training.seed, processes)
    return GradientSteps(config, model, processes)


class GradientSteps:
    """Steps along the gradient of the loss, by Muon and Adam."""

    def __init__(self, config: FittingConfig, model: DeepPotential, processes: Processes) -> None:
        self.model, self.processes, rate = model, processes, config.learning_rate
        self.recentres, self.advice = True, f"lower learning_rate.start (now {rate.start:g}) or "
        self.parameters = list(model.parameters())
        self.optimizers = optimizers(model, "adam" if rate.optimizer == "adam" else "muon", rate.start, rate.matrices)

    def step(self, number: int, batch: Batch | None, weights: Prefactors, rate: float,
             check: Callable[[float], None]) -> Tensor:
        """See :class:`Steps`."""
        for parameter in self.parameters:  # `zero_grad` would look for them in all modules
            parameter.grad = None
        sums = self.processes.add_up(self.parameters, self.backward(batch, weights)).cpu()
        check(float(sums[0]))
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group["initial_lr"]
            optimizer.step()
        return sums[1:]

    def backward(self, batch: Batch | None, weights: Prefactors) -> Tensor:
        """Gradients of the loss of our share of a batch; the loss and the sums of the learning curve, [7]."""
        if batch is None:
            return torch.zeros(7, dtype=torch.float64, device=self.parameters[0].device)
        value, errors = loss(self.model, batch, weights)
        torch.autograd.backward(value)
        return torch.cat([value.detach().reshape(1), learning_curve.sums_of(errors)])

    def state(self) -> list[dict[str, Any]]:
        """See :class:`Steps`."""
        return [optimizer.state_dict() for optimizer in self.optimizers]

    def restore(self, state: list[dict[str, Any]]) -> None:
        """See :class:`Steps`."""
        for optimizer, its in zip(self.optimizers, state, strict=True):
            optimizer.load_state_dict(its)

    def about(self) -> str:
        """Nothing that is not in the input."""
        return ""
