"""SiLU that goes on as a tanh above a threshold: an activation function of DeePMD-kit.

Below the threshold T it is ``silu(x) = x sigmoid(x)``, from there on ``silu(T) + tanh(k (x - T))`` with the slope
``k = silu'(T)``. So the function and its slope are continuous, and the second derivative jumps at T.
"""

import math
from typing import Tuple

import torch
from torch import Tensor


def threshold_in(activation: str) -> float:
    """T of ``"silut:T"``; that of ``"silut"`` is 3."""
    return float(activation[6:]) if len(activation) > 5 else 3.0


def silut(x: Tensor, threshold: float) -> Tensor:
    """The function itself."""
    value, slope = _at(threshold)
    return torch.where(x < threshold, x * torch.sigmoid(x), torch.tanh(slope * (x - threshold)) + value)


def silut_with_slope(x: Tensor, threshold: float) -> Tuple[Tensor, Tensor]:
    """The function and its derivative."""
    value, slope = _at(threshold)
    s, t = torch.sigmoid(x), torch.tanh(slope * (x - threshold))
    below = x < threshold
    return torch.where(below, x * s, t + value), torch.where(below, s * (1.0 + x * (1.0 - s)), slope * (1.0 - t * t))


def silut_curvature(x: Tensor, threshold: float) -> Tensor:
    """The second derivative; at T that from above."""
    slope = _at(threshold)[1]
    s, t = torch.sigmoid(x), torch.tanh(slope * (x - threshold))
    above = -2.0 * slope * slope * t * (1.0 - t * t)
    return torch.where(x < threshold, s * (1.0 - s) * (2.0 + x * (1.0 - 2.0 * s)), above)


def _at(threshold: float) -> Tuple[float, float]:
    """SiLU and its slope at the threshold."""
    s = 1.0 / (1.0 + math.exp(-threshold))
    return threshold * s, s * (1.0 + threshold * (1.0 - s))
