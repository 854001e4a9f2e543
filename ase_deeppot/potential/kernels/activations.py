"""Activation functions and their slopes, as ``networks.activate_with_slope``, over a row of numbers."""

import math

from ase_deeppot.potential.kernels.compilation import compiled
from ase_deeppot.potential.kernels.exponential import sigmoid
from ase_deeppot.potential.kernels.layout import Array

TANH, GELU, SILU, SOFTPLUS, RELU, RELU6, LINEAR, SIGMOID, SILUT = range(9)
CODES = {"tanh": TANH, "gelu": GELU, "silu": SILU, "softplus": SOFTPLUS, "relu": RELU, "relu6": RELU6,
         "linear": LINEAR, "sigmoid": SIGMOID}


@compiled
def activate(code: int, threshold: float, x: Array, slope: Array) -> None:
    """x becomes the function of x, the slope is filled; ``threshold`` is that of SILUT."""
    if code == TANH:
        _tanh(x, slope)
    elif code == GELU:
        _gelu(x, slope)
    elif code == SILU:
        _silu(x, slope)
    elif code == SOFTPLUS:
        _softplus(x, slope)
    elif code == SIGMOID:
        _sigmoid(x, slope)
    elif code == SILUT:
        _silut(threshold, x, slope)
    else:
        _pieces(code, x, slope)


@compiled
def _tanh(x: Array, slope: Array) -> None:
    f = x.dtype.type
    for k in range(len(x)):
        y = f(2) * sigmoid(f(2) * x[k], f) - f(1)
        x[k] = y
        slope[k] = f(1) - y * y


@compiled
def _gelu(x: Array, slope: Array) -> None:
    """``x / 2 (1 + tanh v)``, ``v = sqrt(2 / pi) (x + 0.044715 x^3)``."""
    f = x.dtype.type
    for k in range(len(x)):
        u = x[k]
        v = f(0.7978845608028654) * u * (f(1) + f(0.044715) * u * u)
        s = sigmoid(f(2) * v, f)  # (1 + tanh v) / 2
        x[k] = u * s
        slope[k] = s + f(1.5957691216057308) * u * s * (f(1) - s) * (f(1) + f(0.134145) * u * u)


@compiled
def _silu(x: Array, slope: Array) -> None:
    f = x.dtype.type
    for k in range(len(x)):
        u, s = x[k], sigmoid(x[k], f)
        x[k] = u * s
        slope[k] = s * (f(1) + u * (f(1) - s))


@compiled
def _softplus(x: Array, slope: Array) -> None:
    f = x.dtype.type
    for k in range(len(x)):
        u = x[k]
        slope[k] = sigmoid(u, f)
        x[k] = max(u, f(0)) + math.log1p(math.exp(-abs(u)))


@compiled
def _sigmoid(x: Array, slope: Array) -> None:
    f = x.dtype.type
    for k in range(len(x)):
        s = sigmoid(x[k], f)
        x[k] = s
        slope[k] = s * (f(1) - s)


@compiled
def _silut(threshold: float, x: Array, slope: Array) -> None:
    """See ``silut``."""
    f = x.dtype.type
    at = 1.0 / (1.0 + math.exp(-threshold))
    t, value, steepness = f(threshold), f(threshold * at), f(at * (1.0 + threshold * (1.0 - at)))
    for k in range(len(x)):
        u = x[k]
        s, tanh = sigmoid(u, f), f(2) * sigmoid(f(2) * steepness * (u - t), f) - f(1)
        x[k] = u * s if u < t else tanh + value
        slope[k] = s * (f(1) + u * (f(1) - s)) if u < t else steepness * (f(1) - tanh * tanh)


@compiled
def _pieces(code: int, x: Array, slope: Array) -> None:
    """Straight lines: RELU, RELU6, LINEAR."""
    f = x.dtype.type
    low = f(-math.inf) if code == LINEAR else f(0)
    high = f(6) if code == RELU6 else f(math.inf)
    for k in range(len(x)):
        u = x[k]
        slope[k] = f(1) if low < u < high else f(0)
        x[k] = low if u < low else (high if u > high else u)


@compiled
def curvature(code: int, threshold: float, u: Array, y: Array, slope: Array, bend: Array) -> None:
    """Fill the second derivatives at u, where the function is y and its slope is known."""
    f = u.dtype.type
    if code == TANH:
        for k in range(len(u)):
            bend[k] = f(-2) * y[k] * slope[k]
    elif code == GELU:
        for k in range(len(u)):
            x = u[k]
            v = f(0.7978845608028654) * x * (f(1) + f(0.044715) * x * x)
            v1 = f(0.7978845608028654) * (f(1) + f(0.134145) * x * x)  # dv/dx
            s = sigmoid(f(2) * v, f)
            t = f(2) * s - f(1)
            bend[k] = f(4) * s * (f(1) - s) * (v1 + f(0.10703222440890037) * x * x - x * t * v1 * v1)
    elif code == SILU:
        for k in range(len(u)):
            s = sigmoid(u[k], f)
            bend[k] = s * (f(1) - s) * (f(2) + u[k] * (f(1) - f(2) * s))
    elif code == SOFTPLUS:
        for k in range(len(u)):
            bend[k] = slope[k] * (f(1) - slope[k])
    elif code == SIGMOID:
        for k in range(len(u)):
            bend[k] = slope[k] * (f(1) - f(2) * y[k])
    elif code == SILUT:
        _silut_curvature(threshold, u, bend)
    else:
        bend[:] = 0


@compiled
def _silut_curvature(threshold: float, u: Array, bend: Array) -> None:
    """At the threshold that from above."""
    f = u.dtype.type
    at = 1.0 / (1.0 + math.exp(-threshold))
    t, steepness = f(threshold), f(at * (1.0 + threshold * (1.0 - at)))
    for k in range(len(u)):
        x = u[k]
        s, tanh = sigmoid(x, f), f(2) * sigmoid(f(2) * steepness * (x - t), f) - f(1)
        above = f(-2) * steepness * steepness * tanh * (f(1) - tanh * tanh)
        bend[k] = s * (f(1) - s) * (f(2) + x * (f(1) - f(2) * s)) if x < t else above
