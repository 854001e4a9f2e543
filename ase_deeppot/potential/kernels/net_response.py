"""Energies of a net and G = dE/dx, and the derivative of both by the weights: ``potential.net_response`` in loops."""

from typing import NamedTuple

import numpy as np

from ase_deeppot.potential.kernels.activations import activate, curvature
from ase_deeppot.potential.kernels.compilation import compiled
from ase_deeppot.potential.kernels.fitting_net import (
    ACTIVATION,
    BACK,
    BIAS,
    COPIES,
    IDT,
    N_IN,
    N_OUT,
    Net,
    four,
    padded,
    whole,
)
from ase_deeppot.potential.kernels.layout import Array
from ase_deeppot.potential.kernels.matrix_products import add_outer_products, add_product

TOGETHER = 64  # rows of a matrix that stay in the cache while all is added to them


class Kept(NamedTuple):
    """What some atoms keep of the way up and down, for the derivative by the weights; rows in flat arrays.

    There are ``capacity(n)`` rows, of which those after the n-th are zero in whatever is summed over rows. Rows of the
    input are ``stride_in`` apart, those of layers ``stride``.
    """

    x: Array  # [rows * stride_in], the input
    x_dot: Array  # [rows * stride_in], the direction V
    g_x: Array  # [rows * stride_in], dE/dx
    r_x: Array  # [rows * stride_in], what flows back to x
    results: Array  # [layers, rows * stride]
    results_dot: Array  # [layers, rows * stride]
    u: Array  # [layers, rows * stride], x W + b
    y: Array  # [layers, rows * stride], act(u)
    slope: Array  # [layers, rows * stride], dy/du
    g: Array  # [layers, rows * stride], dE/d(result)
    g_u: Array  # [layers, rows * stride], dE/du
    r_u: Array  # [layers, rows * stride], what flows back to u
    stride_in: int
    stride: int


@compiled
def forward(net: Net, n: int, kept: Kept, energies: Array) -> None:
    """Fill the energies [n], without the bias of the net, and all of ``kept`` but what has a dot, from its x."""
    depth, stride = len(net.layers), kept.stride
    for k in range(depth):
        x, x_stride = (kept.x, kept.stride_in) if k == 0 else (kept.results[k - 1], stride)
        _up(net, k, n, x, x_stride, kept.u[k], kept.y[k], kept.slope[k], kept.results[k], stride)
    last, last_stride = (kept.results[depth - 1], stride) if depth else (kept.x, kept.stride_in)
    _output(net, n, last, last_stride, kept.g[depth - 1] if depth else kept.g_x, energies)
    for k in range(depth - 1, -1, -1):
        target, to_stride = (kept.g_x, kept.stride_in) if k == 0 else (kept.g[k - 1], stride)
        _through_activation(net, k, n, kept.slope[k], kept.g[k], kept.g_u[k], stride)
        _down(net, k, n, kept.g[k], kept.g_u[k], stride, target, to_stride)


@compiled
def _up(net: Net, k: int, n: int, x: Array, x_stride: int, u: Array, y: Array, slope: Array, result: Array,
        stride: int) -> None:
    """``u = x W + b``, ``y = act(u)``, ``result = shortcut(x) + idt y``."""
    layer = net.layers[k]
    width, n_in = whole(layer[N_OUT]), layer[N_IN]
    for i in range(n):
        for m in range(width):
            u[i * stride + m] = net.weights[layer[BIAS] + m]
    add_outer_products(x, x_stride, 1, four(n), four(n_in), net.weights, layer[BACK], width, width, u, 0, stride)
    for i in range(n):
        row, of_row = y[i * stride : i * stride + width], result[i * stride : i * stride + width]
        for m in range(width):
            row[m] = u[i * stride + m]
        activate(layer[ACTIVATION], net.thresholds[k], row, slope[i * stride : i * stride + width])
        for m in range(width):
            of_row[m] = row[m]
        if layer[IDT] >= 0:
            for m in range(width):
                of_row[m] *= net.weights[layer[IDT] + m]
        for copy in range(layer[COPIES]):
            for m in range(n_in):
                of_row[copy * n_in + m] += x[i * x_stride + m]


@compiled
def _output(net: Net, n: int, x: Array, stride: int, g: Array, energies: Array) -> None:
    """The output layer, and its derivative by its x."""
    for i in range(n):
        row, g_row = x[i * stride : (i + 1) * stride], g[i * stride : (i + 1) * stride]
        total = x.dtype.type(0)
        for m in range(len(net.output)):
            total += row[m] * net.output[m]
            g_row[m] = net.output[m]
        energies[i] = total


@compiled
def _through_activation(net: Net, k: int, n: int, slope: Array, g: Array, g_u: Array, stride: int) -> None:
    """``g_u = idt act'(u) g``."""
    layer = net.layers[k]
    width, idt = whole(layer[N_OUT]), layer[IDT]
    for i in range(n):
        for m in range(i * stride, i * stride + width):
            g_u[m] = slope[m] * g[m]
        if idt >= 0:
            for m in range(width):
                g_u[i * stride + m] *= net.weights[idt + m]


@compiled
def _down(net: Net, k: int, n: int, g: Array, g_u: Array, stride: int, x_bar: Array, x_stride: int) -> None:
    """From the derivatives by a layer's result and by its u to that by its x."""
    layer = net.layers[k]
    width, n_in = whole(layer[N_OUT]), layer[N_IN]
    for i in range(n):
        row = x_bar[i * x_stride : (i + 1) * x_stride]
        row[:] = 0
        for copy in range(layer[COPIES]):
            for m in range(n_in):
                row[m] += g[i * stride + copy * n_in + m]
    add_product(g_u, stride, padded(n), net.weights, layer[BACK], width, four(n_in), x_bar, x_stride)


@compiled
def backward(net: Net, n: int, kept: Kept, e_bar: Array, bars: Array, output_bar: Array) -> None:
    """From dL/dE [n], and V = dL/dG in ``x_dot``, to ``r_x``, ``r_u`` for matrices, and the smaller derivatives.

    Those of biases and timesteps are added to ``bars``, which is laid out as the weights are, that of the output to
    ``output_bar``. What ``forward`` has kept stays as it is.
    """
    depth, stride = len(net.layers), kept.stride
    for k in range(depth):
        x_dot, x_stride = (kept.x_dot, kept.stride_in) if k == 0 else (kept.results_dot[k - 1], stride)
        _along(net, k, n, x_dot, x_stride, kept.slope[k], kept.r_u[k], kept.results_dot[k], stride)
    last, dot, last_stride = ((kept.results[depth - 1], kept.results_dot[depth - 1], stride) if depth
                              else (kept.x, kept.x_dot, kept.stride_in))
    room = np.empty((2, len(kept.x) // kept.stride_in * stride), kept.x.dtype)
    r, other = (room[0], room[1]) if depth else (kept.r_x, room[1])
    _output_backward(net, n, last, dot, last_stride, e_bar, r, output_bar)
    for k in range(depth - 1, -1, -1):
        _bars(net, k, n, kept, r, bars)
        target, to_stride = (kept.r_x, kept.stride_in) if k == 0 else (other, stride)
        _down(net, k, n, r, kept.r_u[k], stride, target, to_stride)
        r, other = other, r


@compiled
def _output_backward(net: Net, n: int, x: Array, x_dot: Array, stride: int, e_bar: Array, r: Array,
                     output_bar: Array) -> None:
    """From dL/dE to that by the output layer's x, and by its weights."""
    for i in range(n):
        for m in range(len(net.output)):
            output_bar[m] += e_bar[i] * x[i * stride + m] + x_dot[i * stride + m]
            r[i * stride + m] = e_bar[i] * net.output[m]


@compiled
def _along(net: Net, k: int, n: int, x_dot: Array, x_stride: int, slope: Array, u_dot: Array, result_dot: Array,
           stride: int) -> None:
    """The change of a layer's u and of its result along the direction V."""
    layer = net.layers[k]
    width, n_in = whole(layer[N_OUT]), layer[N_IN]
    u_dot[: n * stride] = 0
    add_outer_products(x_dot, x_stride, 1, four(n), four(n_in), net.weights, layer[BACK], width, width, u_dot, 0,
                       stride)
    for i in range(n):
        for m in range(i * stride, i * stride + width):
            result_dot[m] = slope[m] * u_dot[m]
        if layer[IDT] >= 0:
            for m in range(width):
                result_dot[i * stride + m] *= net.weights[layer[IDT] + m]
        for copy in range(layer[COPIES]):
            for m in range(n_in):
                result_dot[i * stride + copy * n_in + m] += x_dot[i * x_stride + m]


@compiled
def _bars(net: Net, k: int, n: int, kept: Kept, r: Array, bars: Array) -> None:
    """From r, the derivative by a layer's result: r_u, in the place of u dot, and what bias and timestep get."""
    layer, stride = net.layers[k], kept.stride
    width = whole(layer[N_OUT])
    bend, bias_bar = np.empty(width, r.dtype), bars[layer[BIAS] : layer[BIAS] + width]
    for i in range(n):
        at, end = i * stride, i * stride + width
        y, slope, g, r_u = kept.y[k, at:end], kept.slope[k, at:end], kept.g[k, at:end], kept.r_u[k, at:end]
        r_row = r[at:end]
        curvature(layer[ACTIVATION], net.thresholds[k], kept.u[k, at:end], y, slope, bend)
        if layer[IDT] >= 0:
            idt_bar, idt = bars[layer[IDT] : layer[IDT] + width], net.weights[layer[IDT] : layer[IDT] + width]
            for m in range(width):
                idt_bar[m] += g[m] * slope[m] * r_u[m] + r_row[m] * y[m]
            for m in range(width):
                r_u[m] = idt[m] * (slope[m] * r_row[m] + bend[m] * r_u[m] * g[m])
        else:
            for m in range(width):
                r_u[m] = slope[m] * r_row[m] + bend[m] * r_u[m] * g[m]
        for m in range(width):
            bias_bar[m] += r_u[m]


@compiled
def add_matrix_bars(net: Net, k: int, n: int, kept: Kept, first: int, last: int, bars: Array) -> None:
    """What n atoms add to the derivative by rows ``first`` to ``last``, multiples of 4, of the k-th layer's matrix."""
    width, stride, start = whole(net.layers[k, N_OUT]), kept.stride, net.layers[k, BACK]
    x, x_dot, x_stride = ((kept.x, kept.x_dot, kept.stride_in) if k == 0
                          else (kept.results[k - 1], kept.results_dot[k - 1], stride))
    for begin in range(first, last, TOGETHER):
        rows = min(TOGETHER, last - begin)
        for factor, other in ((x, kept.r_u[k]), (x_dot, kept.g_u[k])):
            add_outer_products(factor[begin:], 1, x_stride, rows, four(n), other, 0, stride, width, bars,
                               start + begin * width, width)


@compiled
def lay_out(matrix: Array, start: int, weights: Array) -> None:
    """A matrix [n_in, n_out] into the flat weights, filled up with zeros."""
    width = whole(matrix.shape[1])
    for c in range(four(len(matrix))):
        row = weights[start + c * width : start + (c + 1) * width]
        row[:] = 0
        if c < len(matrix):
            for m in range(matrix.shape[1]):
                row[m] = matrix[c, m]

