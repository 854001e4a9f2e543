"""Energy of the atoms of one species and K = dE/dP, and the derivative of both: training, with nothing done twice.

As in ``net_response``, with the moments P in place of the net's input: the derivative of a loss with respect to the
weights takes one pass along the direction V = dL/dK (quantities with a dot) and one backwards.
"""

from typing import Any, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ase_deeppot.potential import net_response
from ase_deeppot.potential.networks import ResidualLayer


class Shape(NamedTuple):
    """What is fixed of one species' part of the model."""

    axis_neuron: int
    slots: float
    net: net_response.Shape


def respond(p: Tensor, series: Tuple[Tensor, Tensor, Tensor], mean: Tensor, layers: List[ResidualLayer],
            output: nn.Linear, axis_neuron: int, slots: float,
            extra: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:
    """Energies of atoms of one species and their derivative, differentiable once more in all weights.

    Parameters
    ----------
    p : Tensor, [n, 4, T, L]
        Moments of their environments.
    series : tuple of Tensor, [T * L, M], [T * L, M], [M]
        Of the embedding: radial, angular, constant.
    mean : Tensor, [M * axis_neuron]
        What is taken from the descriptor before it enters the net.
    layers, output
        Of the fitting net.
    axis_neuron : int
    slots : float
        What ``G^T R`` is divided by: sum(sel), times the root of what the descriptor is to be divided by.
    extra : Tensor, [n, k], optional
        Inputs of the net beside the descriptor, after it.

    Returns
    -------
    energies : Tensor, [n]
        eV, without the bias of the species.
    k : Tensor, [n, 4, T, L]
        dE/dP.
    """
    net, weights = net_response.taken_apart(layers, output)
    result: Tuple[Tensor, Tensor] = _Response.apply(p, extra, Shape(axis_neuron, slots, net), *series, mean,
                                                      *weights)
    return result


class _Response(torch.autograd.Function):

    @staticmethod
    def forward(ctx: Any, p: Tensor, extra: Optional[Tensor], shape: Shape, radial: Tensor, angular: Tensor,
                constant: Tensor, mean: Tensor, *weights: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
        rows = p.flatten(2)
        a = _rows_times(rows, radial, angular).div_(shape.slots)  # G^T R / sum(sel), transposed
        a[:, 0] += constant / shape.slots
        n, _, m = a.shape
        width = m * shape.axis_neuron
        x = a.new_empty(2 * n, width + (0 if extra is None else extra.shape[1]))
        d = x[:n, :width]
        torch.bmm(a.transpose(1, 2), a[:, :, : shape.axis_neuron], out=d.view(n, m, shape.axis_neuron))
        d -= mean
        if extra is not None:
            x[:n, width:] = extra
        energies, g, net = net_response.forward(shape.net, weights, x)
        g_d = g[:, :width].reshape(n, m, shape.axis_neuron)
        g_a = _product_backward(a, g_d)
        ctx.kept = (rows, shape, radial, angular, net, a, g_d, g_a)
        return energies, _rows_times(g_a, radial.t(), angular.t()).div_(shape.slots).view_as(p)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tuple[Optional[Tensor], ...]:
        rows, shape, radial, angular, net, a, g_d, g_a = ctx.kept
        e_bar, v = grads[0], grads[1].flatten(2)
        n, axis = a.shape[0], shape.axis_neuron
        a_dot = _rows_times(v, radial, angular).div_(shape.slots)
        width = g_d[0].numel()
        net.input_dot[:, width:] = 0.0  # what stands beside the descriptor does not depend on P
        d_dot = net.input_dot[:, :width].view_as(g_d)
        torch.bmm(a_dot.transpose(1, 2), a[:, :, :axis], out=d_dot)
        d_dot += torch.bmm(a.transpose(1, 2), a_dot[:, :, :axis])
        r, weight_bars = net_response.backward(net, e_bar)
        r_a = _product_backward(a, r[:, :width].reshape(g_d.shape)) + _product_backward(a_dot, g_d)
        both, both_bar = torch.cat([rows, v]), torch.cat([r_a, g_a]).div_(shape.slots)
        radial_bar = torch.mm(both[:, 0].t(), both_bar[:, 0])
        angular_bar = torch.mm(both[:, 1:].flatten(0, 1).t(), both_bar[:, 1:].flatten(0, 1))
        return None, None, None, radial_bar, angular_bar, both_bar[:n, 0].sum(0), None, *weight_bars


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
