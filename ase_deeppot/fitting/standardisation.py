"""Mean and spread of the descriptors, by which the fitting nets' input becomes of order one."""

import numpy as np
import torch
from torch import Tensor

from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.potential.deep_potential import DeepPotential
from ase_deeppot.potential.hybrid import HybridDescriptor, smooth_parts
from ase_deeppot.potential.local_frame import LocalFrameDescriptor
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
    if isinstance(descriptor, LocalFrameDescriptor):
        return
    net, coupled = model.fitting_net, [part for part in smooth_parts(descriptor) if len(part.couplings)]
    for part in coupled if not known else ():
        part.root.fill_(1.0)
    samples = _descriptors(descriptor, dataset)
    for t in range(known, len(samples)):
        net.mean[t] = samples[t].mean(0) if len(samples[t]) else 0.0
    if known:
        return
    products = _products(descriptor)
    spread = torch.cat([sample - mean for sample, mean in zip(samples, net.mean, strict=True)])[:, products]
    size = torch.cat(samples)[:, products].square().mean().sqrt()
    scale = float(torch.maximum(spread.square().mean().sqrt(), LEAST_SPREAD * size))
    net.scale.fill_(scale if scale > 0.0 else 1.0)
    net.mean[:, ~products] /= net.scale.sqrt()
    for part in coupled:
        part.root.fill_(net.scale.sqrt())


@torch.no_grad()
def recentre(model: DeepPotential, types: Tensor, features: Tensor) -> None:
    """Take the mean of the descriptors as it is now, and change the biases so that the model remains the same function.

    The embedding nets move, and with them the mean; a mean that is far from zero in front of the first layer makes
    all its units saturate within some steps.

    Parameters
    ----------
    types : Tensor, [N] int64
        Species of some atoms; those of which there are none keep their mean.
    features : Tensor, [N, 4, T, L]
        Moments of their environments.
    """
    descriptor, net = model.descriptor, model.fitting_net
    if isinstance(descriptor, LocalFrameDescriptor):
        return
    samples = descriptor([features[types == t] for t in range(descriptor.n_types)])
    for t, sample in enumerate(samples):
        hidden, output = net.parts(t)[0], net.output(t)
        if len(sample) == 0 or (hidden and hidden[0].copies):  # a shortcut would show the change
            continue
        mean = sample.to(torch.float64).mean(0)
        shift = (mean - net.mean[t]) / net.scale  # what the input loses
        weight = hidden[0].weight if hidden else output.weight.t()
        bias = hidden[0].bias if hidden else output.bias
        bias.add_((shift @ weight.to(torch.float64)).to(bias.dtype))
        net.mean[t] = mean


def _products(descriptor: SmoothDescriptor | HybridDescriptor) -> Tensor:
    """Which components of the descriptor are products of second order, [width] bool; the others are of third."""
    kinds = []
    for part in smooth_parts(descriptor):
        kinds += [True] * part.products + [False] * (part.width - part.products)
    return torch.tensor(kinds)


def _descriptors(descriptor: SmoothDescriptor | HybridDescriptor, dataset: Dataset) -> list[Tensor]:
    """Of the atoms of each species in a sample of frames, [n_t, width] float64 each."""
    sample = np.unique(np.linspace(0, len(dataset) - 1, min(len(dataset), LARGEST_SAMPLE)).astype(int))
    parts = []
    for k in map(int, sample):
        types, p = torch.from_numpy(dataset.types_of_frame(k)), dataset.environment(k, descriptor.geometry()).features
        parts.append(descriptor([p[types == t] for t in range(descriptor.n_types)]))
    return [torch.cat(of_species).to(torch.float64) for of_species in zip(*parts, strict=True)]
