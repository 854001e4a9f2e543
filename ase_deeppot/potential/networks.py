"""Residual layers, the bricks of the embedding nets and the fitting nets."""

from itertools import pairwise
from typing import Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from ase_deeppot.potential.silut import silut, silut_curvature, silut_with_slope, threshold_in


def activate(x: Tensor, activation: str) -> Tensor:
    """Apply the activation function of that name."""
    if activation == "tanh":
        return torch.tanh(x)
    if activation == "gelu":
        return nn.functional.gelu(x, approximate="tanh")
    if activation == "silu":
        return nn.functional.silu(x)
    if activation == "softplus":
        return nn.functional.softplus(x, threshold=40.0)  # 20, the default, leaves a step of 2e-9
    if activation == "relu":
        return torch.relu(x)
    if activation == "relu6":
        return x.clamp(0.0, 6.0)
    if activation == "linear":
        return x
    if activation.startswith("silut"):
        return silut(x, threshold_in(activation))
    return torch.sigmoid(x)


def activate_with_slope(x: Tensor, activation: str) -> Tuple[Tensor, Tensor]:
    """The activation function of that name and its derivative; uses x up."""
    if activation == "tanh":
        y = x.mul_(2.0).sigmoid_().mul_(2.0).sub_(1.0)  # twice as fast as tanh, to the same rounding
        return y, torch.addcmul(torch.ones(1, dtype=x.dtype, device=x.device), y, y, value=-1.0)
    if activation == "gelu":  # x/2 (1 + tanh v), v = sqrt(2/pi) (x + 0.044715 x^3)
        t = torch.tanh(0.7978845608028654 * x * (1.0 + 0.044715 * x * x))
        return 0.5 * x * (1.0 + t), 0.5 * (1.0 + t) + 0.3989422804014327 * x * (1.0 - t * t) * (1.0 + 0.134145 * x * x)
    if activation == "relu":
        return torch.relu(x), (x > 0.0).to(x.dtype)
    if activation == "relu6":
        return x.clamp(0.0, 6.0), ((x > 0.0) & (x < 6.0)).to(x.dtype)
    if activation == "linear":
        return x, torch.ones_like(x)
    if activation.startswith("silut"):
        return silut_with_slope(x, threshold_in(activation))
    s = torch.sigmoid(x)
    if activation == "silu":
        return x * s, s * (1.0 + x * (1.0 - s))
    if activation == "softplus":
        return nn.functional.softplus(x, threshold=40.0), s
    return s, s * (1.0 - s)


def curvature(x: Tensor, y: Tensor, slope: Tensor, activation: str) -> Tensor:
    """Second derivative of the activation function at x, given what ``activate_with_slope`` returned."""
    if activation == "tanh":
        return -2.0 * y * slope
    if activation == "gelu":
        v1 = 0.7978845608028654 * (1.0 + 0.134145 * x * x)  # dv/dx
        t = torch.tanh(0.7978845608028654 * x * (1.0 + 0.044715 * x * x))
        return (1.0 - t * t) * (v1 + 0.10703222440890037 * x * x - x * t * v1 * v1)
    if activation in ("relu", "relu6", "linear"):
        return torch.zeros_like(x)
    if activation.startswith("silut"):
        return silut_curvature(x, threshold_in(activation))
    s = torch.sigmoid(x)
    if activation == "silu":
        return s * (1.0 - s) * (2.0 + x * (1.0 - 2.0 * s))
    if activation == "softplus":
        return s * (1.0 - s)
    return s * (1.0 - s) * (1.0 - 2.0 * s)


class ResidualLayer(nn.Module):
    """``y = shortcut(x) + idt * act(x W + b)``.

    The shortcut is ``x`` where the widths agree, ``(x, x)`` where the layer doubles them, else nothing; nothing
    either with ``shortcut=False``.
    The trained timestep ``idt`` belongs to layers with a shortcut, where it keeps a deep net near the identity.
    """

    def __init__(self, n_in: int, n_out: int, activation: str, timestep: bool, dtype: torch.dtype,
                 shortcut: bool = True) -> None:
        super().__init__()
        self.activation = activation
        self.copies = n_out // n_in if shortcut and n_out in (n_in, 2 * n_in) else 0
        self.weight = nn.Parameter(torch.empty(n_in, n_out, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(n_out, dtype=dtype))
        self.idt: Optional[nn.Parameter] = None
        if timestep and self.copies > 0:
            self.idt = nn.Parameter(torch.empty(n_out, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights of variance ``1 / (n_in + n_out)``, unit biases, timesteps near 0.1."""
        with torch.no_grad():
            nn.init.normal_(self.weight, std=sum(self.weight.shape) ** -0.5)
            nn.init.normal_(self.bias)
            if self.idt is not None:
                nn.init.normal_(self.idt, mean=0.1, std=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, n_in] to [B, n_out]."""
        y = activate(torch.addmm(self.bias, x, self.weight), self.activation)
        idt = self.idt
        if idt is not None:
            y = y * idt
        if self.copies == 1:
            return x + y
        if self.copies == 2:
            return torch.cat([x, x], dim=1) + y
        return y


class ResidualNet(nn.Module):
    """A chain of residual layers."""

    def __init__(self, widths: Sequence[int], activation: str, timestep: bool, dtype: torch.dtype,
                 shortcut: bool = True) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            ResidualLayer(n_in, n_out, activation, timestep, dtype, shortcut)
            for n_in, n_out in pairwise(widths)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, widths[0]] to [B, widths[-1]]."""
        for layer in self.layers:
            x = layer(x)
        return x


class ParallelNets(nn.Module):
    """Chains of residual layers of the same widths, side by side: as ``ResidualNet``, with all at once."""

    def __init__(self, count: int, widths: Sequence[int], activation: str, timestep: bool, dtype: torch.dtype) -> None:
        super().__init__()
        alone = [ResidualNet(widths, activation, timestep, dtype) for _ in range(count)]
        same = zip(*(net.layers for net in alone), strict=True)
        self.layers = nn.ModuleList(ParallelLayer(layers) for layers in same)

    def forward(self, x: Tensor) -> Tensor:
        """Map [count, B, widths[0]] to [count, B, widths[-1]]."""
        for layer in self.layers:
            x = layer(x)
        return x


class ParallelLayer(nn.Module):
    """Residual layers of the same widths, side by side."""

    def __init__(self, layers: Sequence[ResidualLayer]) -> None:
        super().__init__()
        self.activation, self.copies = layers[0].activation, layers[0].copies
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))  # [count, n_in, n_out]
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in layers]))  # [count, n_out]
        timesteps = [layer.idt.detach() for layer in layers if layer.idt is not None]
        self.idt = nn.Parameter(torch.stack(timesteps)) if timesteps else None

    def forward(self, x: Tensor) -> Tensor:
        """Map [count, B, n_in] to [count, B, n_out]."""
        y = activate(torch.baddbmm(self.bias[:, None], x, self.weight), self.activation)
        if self.idt is not None:
            y = y * self.idt[:, None]
        return y if self.copies == 0 else y + torch.cat([x] * self.copies, dim=2)
