"""Mean and spread of the descriptors, by which the fitting nets' input becomes of order one."""

import numpy as np
import torch
from torch import Tensor

from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.potential.deep_potential import DeepPotential
from ase_deeppot.potential.smooth import SmoothDescriptor

LARGEST_SAMPLE = 100  # frames looked at, evenly spread over all
LEAST_SPREAD = 1e-3  # of the descriptors themselves: frames that are all alike must not be blown up


@torch.no_grad()
def standardise(model: DeepPotential, dataset: Dataset, known: int = 0) -> None:
    """Set ``mean`` and ``scale`` of the fitting net from descriptors as they are before training.

    One scale for all components and species: their relative sizes mean something. A descriptor that normalises its
    components itself is left alone.

    Parameters
    ----------
    model : DeepPotential
        With its statistics set.
    dataset : Dataset
        Frames that will be trained on.
    known : int
        So many species, the first ones, keep their mean, and the model its scale.
    """
    descriptor = model.descriptor
    if not isinstance(descriptor, SmoothDescriptor):
        return
    net, samples = model.fitting_net, _descriptors(descriptor, dataset)
    for t in range(known, len(samples)):
        net.mean[t] = samples[t].mean(0) if len(samples[t]) else 0.0
    if known:
        return
    spread = torch.cat([sample - mean for sample, mean in zip(samples, net.mean, strict=True)]).square().mean().sqrt()
    size = torch.cat(samples).square().mean().sqrt()
    scale = float(torch.maximum(spread, LEAST_SPREAD * size))
    net.scale.fill_(scale if scale > 0.0 else 1.0)


def _descriptors(descriptor: SmoothDescriptor, dataset: Dataset) -> list[Tensor]:
    """Of the atoms of each species in a sample of frames, [n_t, width] float64 each."""
    sample = np.unique(np.linspace(0, len(dataset) - 1, min(len(dataset), LARGEST_SAMPLE)).astype(int))
    parts = []
    for k in map(int, sample):
        types, p = torch.from_numpy(dataset.types_of_frame(k)), dataset.environment(k, descriptor.geometry()).features
        parts.append(descriptor([p[types == t] for t in range(descriptor.n_types)]))
    return [torch.cat(of_species).to(torch.float64) for of_species in zip(*parts, strict=True)]
