"""The fitting nets' input and how it changes with every pair vector, written out: for what is linear in both."""

from typing import NamedTuple, cast

import torch
from torch import Tensor

from ase_deeppot.potential import bispectrum, response
from ase_deeppot.potential.deep_potential import DeepPotential
from ase_deeppot.potential.descriptor import Neighbors
from ase_deeppot.potential.embedding_series import Series
from ase_deeppot.potential.harmonics import harmonics_backward
from ase_deeppot.potential.moments import Block, block
from ase_deeppot.potential.smooth import SmoothDescriptor


class Centres(NamedTuple):
    """Atoms of one species, as the net of that species sees them."""

    x: Tensor  # [n, width], input of the net, ``(D - mean) / scale``
    environment: list[Tensor]  # A of each order, [n, 2 l + 1, M_l]; orders 0 and 1 together
    series: Series  # of the embedding, for the species


def centres(potential: DeepPotential, t: int, features: Tensor) -> Centres:
    """Of atoms of species t, from their moments [n, Y, T, L]."""
    descriptor, net = smooth(potential), potential.fitting_net
    series = descriptor.series().of(t)
    a = response.environment(features.flatten(2), series, descriptor.slots(net))
    d = response.products(a, descriptor.axes, descriptor.coupled())
    return Centres(d - (net.mean[t] / net.scale).to(d.dtype), a, series)


def slopes(potential: DeepPotential, found: Centres, pairs: Neighbors) -> Tensor:
    """dx/dv, [E, 3, width], of the centre of each pair; ``pairs.i`` are places in ``found``, in any order."""
    descriptor, each = smooth(potential), torch.arange(len(pairs.i))
    one = block(descriptor.basis(), len(each), each, each, pairs.vectors, descriptor.dtype)  # a row for each pair
    changes = _environment_slopes(one, found.series, pairs.types_j, descriptor.n_types,
                                  descriptor.slots(potential.fitting_net))
    return _product_slopes([part[pairs.i] for part in found.environment], changes, descriptor)


def smooth(potential: DeepPotential) -> SmoothDescriptor:
    """Its descriptor, the only one that this is written for."""
    return cast(SmoothDescriptor, potential.descriptor)


def _environment_slopes(one: Block, series: Series, types_j: Tensor, n_types: int, slots: float) -> list[Tensor]:
    """How A changes with a pair's vector, order by order, [E, 3, 2 l + 1, M_l]; orders 0 and 1 together."""
    radial, angular, *higher = (matrix.unflatten(0, (n_types, -1))[types_j] / slots for matrix in series.matrices())
    u, y = one.directions, one.angular[:, 0]  # [E, 1, 3], [E, Y]
    turn = harmonics_backward(u, torch.eye(y.shape[1], dtype=y.dtype))  # dY_a/du, [E, Y, 3]
    turn = (turn - (turn * u).sum(2, keepdim=True) * u) * one.inverse[:, :, None]

    def of_rows(matrix: Tensor, start: int, stop: int) -> Tensor:
        value, slope = (part.transpose(1, 2) @ matrix for part in (one.basis, one.slopes))  # [E, 1, M]
        along = torch.einsum("ec,ea,em->ecam", u[:, 0], y[:, start:stop], slope[:, 0])
        return along + torch.einsum("eac,em->ecam", turn[:, start:stop], value[:, 0])

    low = torch.cat([of_rows(radial, 0, 1), of_rows(angular, 1, 4)], dim=2)
    return [low, *(of_rows(matrix, l * l, (l + 1) ** 2) for l, matrix in enumerate(higher, 2))]  # noqa: E741


def _product_slopes(a: list[Tensor], changes: list[Tensor], descriptor: SmoothDescriptor) -> Tensor:
    """How the invariants of environments A [E, ...] change with the pairs' vectors, [E, 3, width]."""
    found = []
    for part, change, axis in zip(a, changes, descriptor.axes, strict=True):
        part = part[:, None]
        product = change.transpose(2, 3) @ part[..., :axis] + part.transpose(2, 3) @ change[..., :axis]
        found.append(product.flatten(2))
    couplings = descriptor.coupled()
    if couplings:
        every = response.for_bispectrum([part.repeat_interleave(3, dim=0) for part in a], couplings)
        dot = response.for_bispectrum([change.flatten(0, 1) for change in changes], couplings)
        found.append(bispectrum.along(couplings, every, dot).unflatten(0, (-1, 3)))
    return torch.cat(found, dim=2)
