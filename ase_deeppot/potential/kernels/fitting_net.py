"""The net of one species, from its input to the energies and back, as ``folded.ResponseNet``, in one call."""

from typing import NamedTuple

import numpy as np

from ase_deeppot.potential.kernels.activations import activate
from ase_deeppot.potential.kernels.compilation import compiled
from ase_deeppot.potential.kernels.layout import LANES, Array
from ase_deeppot.potential.kernels.matrix_products import ROWS, add_product
from ase_deeppot.potential.kernels.polynomial import Terms, polynomials

# Columns of the table of layers: widths, shortcut (how often x is in it), activation function, and where in the
# weights begin: the matrix as each of the two ways reads it, bias, timestep, and the matrix of a shortcut; -1 for none
N_IN, N_OUT, COPIES, ACTIVATION, FORTH, BACK, BIAS, IDT, SHORTCUT, SHORTCUT_BACK = range(10)


class Net(NamedTuple):
    """Layers in flat arrays: matrices as [n_out, n_in] and [n_in, n_out], filled up with zeros."""

    layers: Array  # [layers, 10] int64
    thresholds: Array  # [layers], of the activation function SILUT
    weights: Array  # [all]
    single: Array  # [all] float32, of the rows of the first layer's matrix from the first small one on
    n_large: int  # first small input
    n_small: int  # inputs of which single precision is enough
    output: Array  # [filled(last width)]
    bias: float
    terms: Terms  # of a polynomial in place of the output; none for a linear one


@compiled
def padded(rows: int) -> np.int64:
    """As many rows as products of matrices take."""
    return -(-rows // np.int64(ROWS)) * np.int64(ROWS)


@compiled
def fitting_net(net: Net, x: Array, energies: Array) -> None:
    """Fill the energies [n], eV, from x [padded(n), S]; x becomes dE/dx.

    What is beyond n rows, and beyond the net's input in a row, has to be finite.
    """
    n, stride, flat = len(energies), x.shape[1], x.reshape(x.size)
    if len(net.layers) == 0:
        _energies(net, flat, stride, energies)
        _spread(net.output, flat, stride, len(x))
        return
    width = len(net.output)
    for k in range(len(net.layers)):
        width = max(width, whole(net.layers[k, N_OUT]))
    slopes = np.empty((len(net.layers), len(x) * width), x.dtype)
    y, room = np.empty(len(x) * width, x.dtype), np.empty(len(x) * width, x.dtype)
    small = np.empty(len(x) * whole(net.n_small), net.single.dtype)
    single = np.empty(len(x) * width if net.n_small else 0, net.single.dtype)
    _forward(net, 0, flat, stride, y, slopes[0], width, len(x), small, single)
    for k in range(1, len(net.layers)):
        _forward(net, k, y, width, room, slopes[k], width, len(x), small, single)
        y, room = room, y
    if len(net.terms.runs) > 0:
        polynomials(net.terms, y, width, len(x), energies, net.bias)
    else:
        _energies(net, y, width, energies[:n])
        _spread(net.output, y, width, len(x))
    for k in range(len(net.layers) - 1, 0, -1):
        _backward(net, k, y, slopes[k], width, y, width, len(x), small, single)
    _backward(net, 0, y, slopes[0], width, flat, stride, len(x), small, single)


@compiled
def _energies(net: Net, y: Array, stride: int, energies: Array) -> None:
    for i in range(len(energies)):
        total = y.dtype.type(0)
        row = y[i * stride : i * stride + len(net.output)]
        for k in range(len(row)):
            total += row[k] * net.output[k]
        energies[i] = total + net.bias


@compiled
def _spread(row: Array, target: Array, stride: int, rows: int) -> None:
    """The same numbers at the beginning of each row."""
    for c in range(rows):
        place = target[c * stride : c * stride + len(row)]
        for k in range(len(row)):
            place[k] = row[k]


@compiled
def _forward(net: Net, k: int, x: Array, x_stride: int, y: Array, slope: Array, stride: int, rows: int, small: Array,
             single: Array) -> None:
    """``y = shortcut(x) + idt * act(x W + b)``, and the derivative of ``idt * act``."""
    layer = net.layers[k]
    n_in, n_out, width = layer[N_IN], layer[N_OUT], whole(layer[N_OUT])
    _spread(net.weights[layer[BIAS] : layer[BIAS] + width], y, stride, rows)
    if k == 0 and net.n_small > 0:
        add_product(x, x_stride, rows, net.weights, layer[FORTH], whole(net.n_large), four(n_out), y, stride)
        _add_small(net, x, x_stride, rows, n_out, small, single, y, stride)
    else:
        add_product(x, x_stride, rows, net.weights, layer[FORTH], whole(n_in), four(n_out), y, stride)
    for c in range(rows):
        row, of_row = y[c * stride : c * stride + width], slope[c * stride : c * stride + width]
        activate(layer[ACTIVATION], net.thresholds[k], row, of_row)
        if layer[IDT] >= 0:
            _scale(net.weights[layer[IDT] : layer[IDT] + width], row, of_row)
        for copy in range(layer[COPIES]):
            _add(x[c * x_stride : c * x_stride + n_in], row[copy * n_in : (copy + 1) * n_in])
    if layer[SHORTCUT] >= 0:
        add_product(x, x_stride, rows, net.weights, layer[SHORTCUT], whole(n_in), four(n_out), y, stride)


@compiled
def _backward(net: Net, k: int, g: Array, slope: Array, stride: int, x: Array, x_stride: int, rows: int, small: Array,
              single: Array) -> None:
    """From dE/dy in g, and the slope, which is used up, to dE/dx in x; g and x may be the same array."""
    layer = net.layers[k]
    n_in, n_out, width = layer[N_IN], layer[N_OUT], whole(layer[N_OUT])
    for c in range(rows):
        of_row, row = slope[c * stride : c * stride + width], g[c * stride : c * stride + width]
        _multiply(row, of_row)
        _shortcut_backward(layer[COPIES], n_in, row, x[c * x_stride : c * x_stride + whole(n_in)])
    if layer[SHORTCUT] >= 0:
        add_product(g, stride, rows, net.weights, layer[SHORTCUT_BACK], width, four(n_in), x, x_stride)
    if k == 0 and net.n_small > 0:
        add_product(slope, stride, rows, net.weights, layer[BACK], width, four(net.n_large), x, x_stride)
        _small_backward(net, slope, stride, rows, n_out, small, single, x, x_stride)
    else:
        add_product(slope, stride, rows, net.weights, layer[BACK], width, four(n_in), x, x_stride)


@compiled
def _add_small(net: Net, x: Array, x_stride: int, rows: int, n_out: int, small: Array, single: Array, y: Array,
               stride: int) -> None:
    """What the small inputs add to x W."""
    length, width = whole(net.n_small), whole(n_out)
    small[:] = 0
    for c in range(rows):
        begin = c * x_stride + net.n_large
        _copy(x[begin : begin + net.n_small], small[c * length : c * length + net.n_small])
    single[: rows * width] = 0
    add_product(small, length, rows, net.single, 0, length, four(n_out), single, width)
    for c in range(rows):
        _add(single[c * width : c * width + n_out], y[c * stride : c * stride + n_out])


@compiled
def _small_backward(net: Net, inner: Array, stride: int, rows: int, n_out: int, small: Array, single: Array, x: Array,
                    x_stride: int) -> None:
    """From the derivative with respect to x W to that with respect to the small inputs."""
    length, width = whole(net.n_small), whole(n_out)
    for c in range(rows):
        _copy(inner[c * stride : c * stride + width], single[c * width : (c + 1) * width])
    small[:] = 0
    add_product(single, width, rows, net.single, four(n_out) * length, width, four(net.n_small), small, length)
    for c in range(rows):
        begin = c * x_stride + net.n_large
        _copy(small[c * length : c * length + net.n_small], x[begin : begin + net.n_small])


@compiled
def _shortcut_backward(copies: int, n_in: int, g: Array, x: Array) -> None:
    """What of dE/dy is dE/dx already; the rest of the row is zero."""
    if copies == 2:
        for k in range(n_in):
            x[k] = g[k] + g[k + n_in]
    elif copies == 1:
        for k in range(n_in):
            x[k] = g[k]
    for k in range(n_in if copies else 0, len(x)):
        x[k] = 0


@compiled
def four(n: int) -> int:
    """The next multiple of four."""
    return (n + 3) // 4 * 4


@compiled
def whole(n: int) -> int:
    """``filled``, as a number that may be taken from others."""
    return (n + LANES - 1) // LANES * LANES


@compiled
def _copy(source: Array, target: Array) -> None:
    for k in range(len(target)):
        target[k] = source[k]


@compiled
def _add(source: Array, target: Array) -> None:
    for k in range(len(target)):
        target[k] += source[k]


@compiled
def _multiply(source: Array, target: Array) -> None:
    for k in range(len(target)):
        target[k] *= source[k]


@compiled
def _scale(factor: Array, y: Array, slope: Array) -> None:
    for k in range(len(y)):
        y[k] *= factor[k]
        slope[k] *= factor[k]
