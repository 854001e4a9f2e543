"""Monomials with their weights as the polynomial of a model: what few of them need is summed up once and for all.

    sum_c w_abc z_a z_b z_c  =  z_a z_b (sum_{c <= K} w_abc z_c + |w_ab| t_ab),   t_ab = sum_{c > K} w_abc z_c / |w_ab|

Directions in which atoms differ little are in few runs (a, b), at their ends, and often in the linear one alone. The
tail of each run is one direction, t_ab, in place of many. The polynomial is the same one.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ase_deeppot.fitting.monomials import Monomials

LEAST = 1e-300  # of what is divided by, where all weights are zero


class Terms(NamedTuple):
    """Of a model's polynomial and the layer before it; see :class:`potential.polynomial.Polynomial`."""

    directions: Tensor  # [width, k]
    shift: Tensor  # [k]
    pairs: Tensor  # [2, R] int64
    places: Tensor  # [M] int64
    weight: Tensor  # [M]


def summed(layer: Monomials, weights: Tensor) -> Terms:
    """The polynomial of the monomials of one species with weights [M], on as few directions as may be."""
    weight, last_power, kept = weights * layer.scale, layer.powers[2], _kept(layer)
    count = layer.pairs.shape[1]
    run = torch.repeat_interleave(torch.arange(count), layer.runs[1] - layer.runs[0])
    tails, beyond = (layer.runs[1] > kept + 1).nonzero()[:, 0], last_power > kept
    sums = weight.new_zeros(len(layer.shift), len(tails))
    sums[last_power[beyond] - 1, torch.searchsorted(tails, run[beyond])] = weight[beyond]
    norms, new = sums.square().sum(0).sqrt(), torch.arange(len(tails))
    columns = torch.cat([torch.eye(len(sums), kept, dtype=sums.dtype), sums / norms.clamp(min=LEAST)], dim=1)
    pairs = torch.cat([layer.pairs, layer.pairs[:, tails]], dim=1)  # a run begins with its b, which is kept
    c, of_run = torch.cat([last_power[~beyond], kept + 1 + new]), torch.cat([run[~beyond], count + new])
    return Terms(layer.directions @ columns, layer.shift @ columns, pairs, c * pairs.shape[1] + of_run,
                 torch.cat([weight[~beyond], norms]))


def _kept(layer: Monomials) -> int:
    """K, with the fewest directions and tails together; all a and b are among the first K directions."""
    last, least = layer.runs[1] - 1, max(1, int(layer.pairs.max()))
    candidates = torch.arange(least, max(least, int(last.max())) + 1)
    totals = candidates + (last > candidates[:, None]).sum(1)
    return int(candidates[totals.argmin()])
