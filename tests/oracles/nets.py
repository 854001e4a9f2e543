"""Residual nets."""

import math
from typing import NamedTuple

import numpy as np


class Layer(NamedTuple):
    weight: np.ndarray  # [n_in, n_out]
    bias: np.ndarray  # [n_out]
    idt: np.ndarray | None  # [n_out]


def silut(x, threshold):
    """DeePMD-kit's: SiLU up to a threshold, from there a tanh with its value and slope."""
    s = 1 / (1 + np.exp(-threshold))
    above = np.tanh((s + threshold * s * (1 - s)) * (x - threshold)) + threshold * s
    return np.where(x.real < threshold, x / (1 + np.exp(-x)), above)


def activate(x, name):
    return {
        "tanh": np.tanh,
        "gelu": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        "silu": lambda x: x / (1 + np.exp(-x)),
        "softplus": lambda x: np.log1p(np.exp(x)),
        "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
        "relu": lambda x: np.where(x.real > 0, x, 0),
        "relu6": lambda x: np.where(x.real >= 6, 6, np.where(x.real > 0, x, 0)),
        "linear": lambda x: x,
        "silut": lambda x: silut(x, 3.0),
        "silut:0.5": lambda x: silut(x, 0.5),
        "silut:100.0": lambda x: silut(x, 100.0),
    }[name](x)


def layer_output(layer: Layer, x, activation: str):
    """One residual layer: identity shortcut, doubled shortcut, or none, whatever the widths allow."""
    n_in, n_out = layer.weight.shape
    y = activate(x @ layer.weight + layer.bias, activation)
    if layer.idt is not None:
        y = y * layer.idt
    if n_out == n_in:
        return x + y
    if n_out == 2 * n_in:
        return np.concatenate([x, x], axis=-1) + y
    return y


def plain_output(layer: Layer, x, activation: str):
    y = activate(x @ layer.weight + layer.bias, activation)
    return y if layer.idt is None else y * layer.idt


def net_output(layers, x, activation):
    for layer in layers:
        x = layer_output(layer, x, activation)
    return x


def layers_in(state, prefix, depth):
    return [Layer(state[f"{prefix}.{n}.weight"], state[f"{prefix}.{n}.bias"], state.get(f"{prefix}.{n}.idt"))
            for n in range(depth)]
