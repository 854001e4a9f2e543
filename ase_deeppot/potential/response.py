"""Energy of the atoms of one species and K = dE/dP, and the derivative of both: training, with nothing done twice.

A loss depends on the energies E and, through the forces, on K. Its derivative with respect to a weight w is

    sum_i dL/dE_i dE_i/dw + <V, dK/dw> = d/dw (sum_i dL/dE_i E_i + dE(P + t V)/dt at t = 0),   V = dL/dK,

so one pass along the direction V (quantities with a dot) and one backwards give the derivatives of all weights. What
flows backwards to the dotted quantities is what flowed to their originals when K was made, and has been kept.
"""

from typing import Any, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ase_deeppot.potential.networks import ResidualLayer, activate_with_slope, curvature


class Shape(NamedTuple):
    """What is fixed of one species' part of the model."""

    axis_neuron: int
    slots: float  # sum(sel)
    activation: str
    copies: Tuple[int, ...]  # of each layer's input in its shortcut


class Layer(NamedTuple):
    """A residual layer."""

    weight: Tensor  # [n_in, n_out]
    bias: Tensor  # [n_out]
    idt: Optional[Tensor]  # [n_out]
    copies: int


class Step(NamedTuple):
    """What a layer keeps of the way up, and of the way down to K."""

    x: Tensor  # [2 n, n_in], the second half for x dot
    u: Tensor  # [n, n_out], x W + b; for tanh its place is taken by y
    y: Tensor  # [n, n_out]
    slope: Tensor  # [n, n_out], dy/du
    g: Tensor  # [n, n_out], dE/d(result of the layer)
    g_u: Tensor  # [n, n_out], dE/du


def respond(p: Tensor, series: Tuple[Tensor, Tensor, Tensor], layers: List[ResidualLayer], output: nn.Linear,
            axis_neuron: int, slots: float) -> Tuple[Tensor, Tensor]:
    """Energies of atoms of one species and their derivative, differentiable once more in all weights.

    Parameters
    ----------
    p : Tensor, [n, 4, T, L]
        Moments of their environments.
    series : tuple of Tensor, [T * L, M], [T * L, M], [M]
        Of the embedding: radial, angular, constant.
    layers, output
        Of the fitting net.
    axis_neuron : int
    slots : float
        sum(sel)

    Returns
    -------
    energies : Tensor, [n]
        eV, without the bias of the species.
    k : Tensor, [n, 4, T, L]
        dE/dP.
    """
    activation = layers[0].activation if layers else "tanh"
    shape = Shape(axis_neuron, slots, activation, tuple(layer.copies for layer in layers))
    weights = [weight for layer in layers for weight in (layer.weight, layer.bias, layer.idt)]
    result: Tuple[Tensor, Tensor] = _Response.apply(p, shape, *series, output.weight, output.bias, *weights)
    return result


class _Response(torch.autograd.Function):

    @staticmethod
    def forward(ctx: Any, p: Tensor, shape: Shape, radial: Tensor, angular: Tensor, constant: Tensor, w: Tensor,
                b: Tensor, *weights: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
        rows, layers = p.flatten(2), _layers(shape, weights)
        a = _rows_times(rows, radial, angular).div_(shape.slots)  # G^T R / sum(sel), transposed
        a[:, 0] += constant / shape.slots
        n = a.shape[0]
        x = a.new_empty(2 * n, a.shape[2] * shape.axis_neuron)
        torch.bmm(a.transpose(1, 2), a[:, :, : shape.axis_neuron], out=x[:n].view(n, a.shape[2], shape.axis_neuron))
        steps = []
        for layer in layers:
            u = torch.addmm(layer.bias, x[:n], layer.weight)
            y, slope = activate_with_slope(u, shape.activation)
            steps.append(Step(x, u, y, slope, y, y))
            x = _with_room(_result(layer, x[:n], y))
        energies = torch.addmv(b, x[:n], w[0])
        g = w.expand(n, -1)
        for k in reversed(range(len(layers))):
            idt = layers[k].idt
            g_u = steps[k].slope * g if idt is None else steps[k].slope * idt * g
            steps[k] = steps[k]._replace(g=g, g_u=g_u)
            g = _result_backward(layers[k], g, g_u)
        g_d = g.reshape(n, a.shape[2], shape.axis_neuron)
        g_a = _product_backward(a, g_d)
        ctx.kept = (rows, shape, radial, angular, layers, w, a, steps, x, g_d, g_a)
        return energies, _rows_times(g_a, radial.t(), angular.t()).div_(shape.slots).view_as(p)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tuple[Optional[Tensor], ...]:
        rows, shape, radial, angular, layers, w, a, steps, x, g_d, g_a = ctx.kept
        e_bar, v = grads[0], grads[1].flatten(2)
        n, axis = a.shape[0], shape.axis_neuron
        a_dot = _rows_times(v, radial, angular).div_(shape.slots)
        d_dot = (steps[0].x if steps else x)[n:].view_as(g_d)
        torch.bmm(a_dot.transpose(1, 2), a[:, :, :axis], out=d_dot)
        d_dot += torch.bmm(a.transpose(1, 2), a_dot[:, :, :axis])
        u_dots = []
        for k, layer in enumerate(layers):
            u_dots.append(torch.mm(steps[k].x[n:], layer.weight))
            after = steps[k + 1].x if k + 1 < len(layers) else x
            after[n:] = _result(layer, steps[k].x[n:], steps[k].slope * u_dots[k])
        w_bar = torch.addmv(x[n:].sum(0), x[:n].t(), e_bar)[None]
        r = e_bar[:, None] * w
        weight_bars: List[Optional[Tensor]] = []
        for k in reversed(range(len(layers))):
            r, *bars = _layer_backward(layers[k], steps[k], u_dots[k], r, shape.activation)
            weight_bars = bars + weight_bars
        r_a = _product_backward(a, r.reshape(g_d.shape)) + _product_backward(a_dot, g_d)
        both, both_bar = torch.cat([rows, v]), torch.cat([r_a, g_a]).div_(shape.slots)
        radial_bar = torch.mm(both[:, 0].t(), both_bar[:, 0])
        angular_bar = torch.mm(both[:, 1:].flatten(0, 1).t(), both_bar[:, 1:].flatten(0, 1))
        return (None, None, radial_bar, angular_bar, both_bar[:n, 0].sum(0), w_bar, e_bar.sum()[None], *weight_bars)


def _layers(shape: Shape, weights: Tuple[Optional[Tensor], ...]) -> List[Layer]:
    threes = zip(weights[0::3], weights[1::3], weights[2::3], shape.copies, strict=True)
    return [Layer(*three) for three in threes]  # type: ignore[arg-type]


def _rows_times(rows: Tensor, radial: Tensor, angular: Tensor) -> Tensor:
    """Rows [n, 4, .] times one matrix for the first and another for the other three."""
    result = rows.new_empty(rows.shape[0], 4, radial.shape[1])
    result[:, 0] = torch.mm(rows[:, 0], radial)
    result[:, 1:] = torch.mm(rows[:, 1:].flatten(0, 1), angular).view(-1, 3, radial.shape[1])
    return result


def _product_backward(a: Tensor, d_bar: Tensor) -> Tensor:
    """From the derivative with respect to ``A A_<^T`` to that with respect to A, both as [n, 4, M]."""
    axis = d_bar.shape[2]
    a_bar = torch.bmm(a[:, :, :axis], d_bar.transpose(1, 2))
    a_bar[:, :, :axis] += torch.bmm(a, d_bar)
    return a_bar


def _with_room(x: Tensor) -> Tensor:
    """x in the first half of twice as many rows."""
    result = x.new_empty(2 * x.shape[0], x.shape[1])
    result[: x.shape[0]] = x
    return result


def _result(layer: Layer, x: Tensor, y: Tensor) -> Tensor:
    """``shortcut(x) + idt y``."""
    if layer.copies == 1 and layer.idt is not None:
        return torch.addcmul(x, y, layer.idt)
    y = y if layer.idt is None else y * layer.idt
    return y if layer.copies == 0 else y + torch.cat([x] * layer.copies, dim=1)


def _result_backward(layer: Layer, g: Tensor, g_u: Tensor) -> Tensor:
    """From the derivatives with respect to the result of a layer and to x W to that with respect to x."""
    if layer.copies == 0:
        return torch.mm(g_u, layer.weight.t())
    return torch.addmm(g.unflatten(1, (layer.copies, layer.weight.shape[0])).sum(1), g_u, layer.weight.t())


def _layer_backward(layer: Layer, step: Step, u_dot: Tensor, r: Tensor,
                    activation: str) -> Tuple[Tensor, Tensor, Tensor, Optional[Tensor]]:
    """From r, the derivative with respect to a layer's result: with respect to its x, weight, bias and idt."""
    bend = curvature(step.u, step.y, step.slope, activation) * u_dot
    r_u = torch.addcmul(step.slope * r, bend, step.g)
    idt_bar = None
    if layer.idt is not None:
        r_u *= layer.idt
        idt_bar = (step.g * step.slope * u_dot + r * step.y).sum(0)
    weight_bar = torch.mm(step.x.t(), torch.cat([r_u, step.g_u]))
    return _result_backward(layer, r, r_u), weight_bar, r_u.sum(0), idt_bar
