"""Energy of the atoms of one species and G = dE/dD, D the input of their net, and the derivative of both: by hand.

A loss depends on the energies E and, through the forces, on G. Its derivative with respect to a weight w is

    sum_i dL/dE_i dE_i/dw + <V, dG/dw> = d/dw (sum_i dL/dE_i E_i + dE(D + t V)/dt at t = 0),   V = dL/dG,

so one pass along the direction V (quantities with a dot) and one backwards give the derivatives of all weights. What
flows backwards to the dotted quantities is what flowed to their originals when G was made, and has been kept.
"""

from typing import Any, List, NamedTuple, Optional, Sequence, Tuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ase_deeppot.potential.fitting_net import Output
from ase_deeppot.potential.networks import ResidualLayer, activate_with_slope, curvature
from ase_deeppot.potential.polynomial import Polynomial


class Shape(NamedTuple):
    """What is fixed of a net."""

    activation: str
    copies: Tuple[int, ...]  # of each layer's input in its shortcut
    polynomial: Optional[Polynomial] = None  # in place of the output; not trained


class Layer(NamedTuple):
    """A residual layer."""

    weight: Tensor  # [n_in, n_out]
    bias: Tensor  # [n_out]
    idt: Optional[Tensor]  # [n_out]
    copies: int


class Step(NamedTuple):
    """What a layer keeps of the way up, and of the way down to G."""

    x: Tensor  # [2 n, n_in], the second half for x dot
    u: Tensor  # [n, n_out], x W + b; for tanh its place is taken by y
    y: Tensor  # [n, n_out]
    slope: Tensor  # [n, n_out], dy/du
    g: Tensor  # [n, n_out], dE/d(result of the layer)
    g_u: Tensor  # [n, n_out], dE/du


class Kept(NamedTuple):
    """What the way down to the weights needs."""

    activation: str
    layers: List[Layer]
    w: Tensor  # [1, n_last], of the output layer
    steps: List[Step]
    last: Tensor  # [2 n, n_last], the output layer's x, and room for x dot

    @property
    def input_dot(self) -> Tensor:
        """Room for the direction V in the space of inputs, [n, n_in]; to be filled before ``backward``."""
        x = self.steps[0].x if self.steps else self.last
        return x[x.shape[0] // 2 :]


def respond(x: Tensor, layers: List[ResidualLayer], output: Output) -> Tuple[Tensor, Tensor]:
    """Energies [n] and G = dE/dx of a net, both differentiable in its weights and in x [n, n_in]."""
    shape, weights = taken_apart(layers, output)
    result: Tuple[Tensor, Tensor] = _NetResponse.apply(x, shape, *weights)
    return result


class _NetResponse(torch.autograd.Function):

    @staticmethod
    def forward(ctx: Any, x: Tensor, shape: Shape, *weights: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
        energies, g, ctx.kept = forward(shape, weights, with_room(x))
        return energies, g

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tuple[Optional[Tensor], ...]:
        ctx.kept.input_dot.copy_(grads[1])
        x_bar, weight_bars = backward(ctx.kept, grads[0])
        return x_bar, None, *weight_bars


def taken_apart(layers: List[ResidualLayer], output: Output) -> Tuple[Shape, List[Optional[Tensor]]]:
    """A net as ``forward`` takes it: its shape, and its weights in the order of what ``backward`` returns."""
    shape = Shape(layers[0].activation if layers else "tanh", tuple(layer.copies for layer in layers))
    hidden = [weight for layer in layers for weight in (layer.weight, layer.bias, layer.idt)]
    if isinstance(output, Polynomial):
        return shape._replace(polynomial=output), [None, None, *hidden]
    return shape, [output.weight, output.bias, *hidden]


def forward(shape: Shape, weights: Sequence[Optional[Tensor]], x: Tensor) -> Tuple[Tensor, Tensor, Kept]:
    """Energies [n] and G [n, n_in], from the net's input in the first half of x [2 n, n_in]."""
    layers, n = _layers(shape, weights[2:]), x.shape[0] // 2
    steps = []
    for layer in layers:
        u = torch.addmm(layer.bias, x[:n], layer.weight)
        y, slope = activate_with_slope(u, shape.activation)
        steps.append(Step(x, u, y, slope, y, y))
        x = with_room(_result(layer, x[:n], y))
    energies, g, w = _output(shape.polynomial, weights, x[:n])
    for k in reversed(range(len(layers))):
        idt = layers[k].idt
        g_u = steps[k].slope * g if idt is None else steps[k].slope * idt * g
        steps[k] = steps[k]._replace(g=g, g_u=g_u)
        g = _result_backward(layers[k], g, g_u)
    return energies, g, Kept(shape.activation, layers, w, steps, x)


def _output(polynomial: Optional[Polynomial], weights: Sequence[Optional[Tensor]],
            x: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
    """Energies [n], their derivatives by x, [n, n_last], and the weights of a linear output."""
    if polynomial is not None:
        return *polynomial(x), x[:0]
    w, b = cast(Tensor, weights[0]), cast(Tensor, weights[1])
    return torch.addmv(b, x, w[0]), w.expand(len(x), -1), w


def backward(kept: Kept, e_bar: Tensor) -> Tuple[Tensor, List[Optional[Tensor]]]:
    """Derivative of the loss with respect to the input, [n, n_in], and to each of the weights.

    ``e_bar`` [n] is dL/dE; dL/dG is in ``kept.input_dot``.
    """
    activation, layers, w, steps, x = kept
    n = len(e_bar)
    u_dots = []
    for k, layer in enumerate(layers):
        u_dots.append(torch.mm(steps[k].x[n:], layer.weight))
        after = steps[k + 1].x if k + 1 < len(layers) else x
        after[n:] = _result(layer, steps[k].x[n:], steps[k].slope * u_dots[k])
    w_bar = torch.addmv(x[n:].sum(0), x[:n].t(), e_bar)[None]
    r = e_bar[:, None] * w
    bars: List[Optional[Tensor]] = []
    for k in reversed(range(len(layers))):
        r, *of_layer = _layer_backward(layers[k], steps[k], u_dots[k], r, activation)
        bars = of_layer + bars
    return r, [w_bar, e_bar.sum()[None], *bars]


def with_room(x: Tensor) -> Tensor:
    """x in the first half of twice as many rows."""
    result = x.new_empty(2 * x.shape[0], x.shape[1])
    result[: x.shape[0]] = x
    return result


def _layers(shape: Shape, weights: Sequence[Optional[Tensor]]) -> List[Layer]:
    threes = zip(weights[0::3], weights[1::3], weights[2::3], shape.copies, strict=True)
    return [Layer(*three) for three in threes]  # type: ignore[arg-type]


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
