"""The loss of the Deep Potential papers, with prefactors that follow the learning rate."""

from typing import NamedTuple

import torch
from torch import Tensor

from ase_deeppot.fitting.config import LearningRateConfig, LossConfig
from ase_deeppot.fitting.datasets import Batch
from ase_deeppot.potential.deep_potential import DeepPotential


class Prefactors(NamedTuple):
    """Weights of the energy, force and virial terms at one step."""

    energy: float
    force: float
    virial: float


class Errors(NamedTuple):
    """Sums of squared errors over the labels of a batch, and how many labels there were."""

    energy: Tensor  # [] sum over frames of (dE/N)^2, (eV/atom)^2
    force: Tensor  # [] sum over force components of dF^2, (eV/A)^2
    virial: Tensor  # [] sum over virial components of (dW/N)^2, (eV/atom)^2
    counts: Tensor  # [3] labelled frames, force components, virial components


class Deviations(NamedTuple):
    """Predictions minus labels, zero where there is no label."""

    energy: Tensor  # [B] eV/atom
    force: Tensor  # [N, 3] eV/A
    virial: Tensor  # [B, 3, 3] eV/atom


def decay(config: LearningRateConfig, step: int, steps: int) -> float:
    """``lr(t)/lr(0)``: ``1 + (q - 1) t/steps`` or ``q^(t/steps)``, q = stop/start."""
    last, time = config.stop / config.start, step / steps
    return 1.0 + (last - 1.0) * time if config.decay == "linear" else float(last**time)


def warmth(config: LearningRateConfig, step: int, steps: int) -> float:
    """Share of the learning rates that the first steps take, rising to 1."""
    return min(1.0, (step + 1) / max(1, min(config.warmup, steps // 10)))


def prefactors(config: LossConfig, rate_ratio: float) -> Prefactors:
    """``p(t) = limit (1 - lr(t)/lr(0)) + start lr(t)/lr(0)``, given ``lr(t)/lr(0)``."""
    start = (config.start_pref_e, config.start_pref_f, config.start_pref_v)
    limit = (config.limit_pref_e, config.limit_pref_f, config.limit_pref_v)
    return Prefactors(*(end * (1 - rate_ratio) + begin * rate_ratio for begin, end in zip(start, limit, strict=True)))


def loss(model: DeepPotential, batch: Batch, weights: Prefactors) -> tuple[Tensor, Errors]:
    """``L = p_e (dE/N)^2 + p_f/(3N) sum |dF|^2 + p_v/9 |dW/N|^2``, averaged over the frames with each label.

    Each frame counts with its weight, each atom's ``|dF|^2`` with that of its species. The averages are over the
    whole batch, ``batch.labelled``: the losses of shares of a batch add up to that of the batch.

    Parameters
    ----------
    model : DeepPotential
        In training mode, so that the forces can be differentiated.
    batch : Batch
        Labels that are NaN count for nothing.
    weights : Prefactors
        p_e, p_f, p_v.

    Returns
    -------
    loss : Tensor, []
    errors : Errors
        Detached, for the learning curve.
    """
    found = deviations(model, batch)
    force_of_frame = torch.zeros_like(batch.sizes).index_add(0, batch.frame,
                                                             batch.force_weights * found.force.square().sum(1))
    sums = torch.stack([
        weights.energy * (batch.weights * found.energy.square()).sum(),
        weights.force * (batch.weights * force_of_frame / (3 * batch.sizes)).sum(),
        weights.virial * (batch.weights * found.virial.square().mean((1, 2))).sum(),
    ])
    value = (sums / batch.labelled.clamp(min=1)).sum()
    return value, errors_of(found, batch)


def deviations(model: DeepPotential, batch: Batch) -> Deviations:
    """How far a model in training is from the labels, differentiable in its weights."""
    energies, k = model.respond(batch.structures.types, batch.environment.features)
    force, atomic_virials = model.descriptor.geometry().forces_and_virials(batch.structures, batch.environment, k)
    total = torch.zeros_like(batch.energies).index_add(0, batch.frame, energies)
    virial = torch.zeros_like(batch.virials).index_add(0, batch.frame, atomic_virials)
    return Deviations(_error(total, batch.energies) / batch.sizes, _error(force, batch.forces),
                      _error(virial, batch.virials) / batch.sizes[:, None, None])


def errors_of(found: Deviations, batch: Batch) -> Errors:
    """Their squares summed, and how many labels there were."""
    counts = torch.stack([label.isfinite().sum() for label in (batch.energies, batch.forces, batch.virials)])
    energy, force, virial = (error.detach().square().sum() for error in found)
    return Errors(energy, force, virial, counts)


def _error(prediction: Tensor, label: Tensor) -> Tensor:
    """Prediction minus label, zero where there is no label; NaN must not reach the backward pass."""
    return torch.where(label.isnan(), torch.zeros_like(prediction), prediction - label)
