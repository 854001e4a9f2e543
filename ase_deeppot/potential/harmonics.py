"""Directions as real spherical harmonics, and the way back.

Normalised so that ``sum_m Y_lm(u) Y_lm(v) = P_l(u . v)``, the Legendre polynomial; order 0 is 1, order 1 is u itself,
and within the higher ones m ascends. Up to order 3 they are written out, from there each comes from the two before:

    Y_lm = a_lm z Y_(l-1)m - b_lm Y_(l-2)m,  |m| < l;   Y_ll + i Y_l(-l) = g_l (x + i y) (Y_(l-1)(l-1) + i Y_(l-1)(1-l))
"""

import math
from typing import List, Tuple

import torch
from torch import Tensor
from torch.nn.functional import pad

WRITTEN_OUT = 3  # order up to which they are; TorchScript reads no such constants, and below it is a plain 3


def harmonics(u: Tensor, l_max: int) -> Tensor:
    """Y [..., (l_max + 1)^2] of unit vectors u [..., 3], order by order."""
    a, b, c, d = 3.0**0.5, 0.625**0.5, 15.0**0.5, 0.375**0.5
    x, y, z = u.unbind(-1)
    values = [torch.ones_like(x), x, y, z]
    if l_max >= 2:
        values += [a * x * y, a * y * z, 1.5 * z * z - 0.5, a * x * z, 0.5 * a * (x * x - y * y)]
    if l_max >= 3:
        five = 5.0 * z * z - 1.0
        values += [b * y * (3.0 * x * x - y * y), c * x * y * z, d * y * five, z * (2.5 * z * z - 1.5), d * x * five,
                   0.5 * c * z * (x * x - y * y), b * x * (x * x - 3.0 * y * y)]
    low = torch.stack(values, dim=-1)
    return low if l_max <= 3 else torch.cat([low] + _higher(u, low, l_max), dim=-1)  # noqa: RUF005  # for TorchScript


def harmonics_backward(u: Tensor, h: Tensor) -> Tensor:
    """``sum_a h_a dY_a/du``, [..., 3], from h [..., (l_max + 1)^2]; only what is across u means anything."""
    if h.shape[-1] > 16:
        g, low = _higher_backward(u, h)
        return g + _backward_written_out(u, low)
    return _backward_written_out(u, h)


def _backward_written_out(u: Tensor, h: Tensor) -> Tensor:
    """The same up to order 3."""
    a, b, c, d = 3.0**0.5, 0.625**0.5, 15.0**0.5, 0.375**0.5
    x, y, z = u.unbind(-1)
    gx, gy, gz = h[..., 1], h[..., 2], h[..., 3]
    if h.shape[-1] >= 9:
        h0, h1, h2, h3, h4 = h[..., 4:9].unbind(-1)
        gx = gx + a * (y * h0 + z * h3 + x * h4)
        gy = gy + a * (x * h0 + z * h1 - y * h4)
        gz = gz + a * (y * h1 + x * h3) + 3.0 * z * h2
    if h.shape[-1] >= 16:
        h0, h1, h2, h3, h4, h5, h6 = h[..., 9:16].unbind(-1)
        five, three = 5.0 * z * z - 1.0, 3.0 * (x * x - y * y)
        gx = gx + 6.0 * b * x * y * h0 + c * y * z * h1 + d * five * h4 + c * x * z * h5 + b * three * h6
        gy = gy + b * three * h0 + c * x * z * h1 + d * five * h2 - c * y * z * h5 - 6.0 * b * x * y * h6
        gz = gz + c * x * y * h1 + 10.0 * d * z * (y * h2 + x * h4) + (7.5 * z * z - 1.5) * h3 + c / 6.0 * three * h5
    return torch.stack([gx, gy, gz], dim=-1)


def _of_two_before(l: int, u: Tensor) -> Tuple[Tensor, Tensor, float]:  # noqa: E741
    """What multiplies z times the order before, [2 l - 1], and the one before that, [2 l - 3]; and the ends, g_l."""
    m = torch.arange(1 - l, l, dtype=u.dtype, device=u.device)
    left = float(l * l) - m * m
    last, below = (2.0 * l - 1.0) / left.sqrt(), ((float((l - 1) ** 2) - m * m) / left).sqrt()
    return last, below[1:-1], math.sqrt((2.0 * l - 1.0) / (2.0 * l))


def _higher(u: Tensor, low: Tensor, l_max: int) -> List[Tensor]:
    """Orders above those that are written out, [..., 2 l + 1] each."""
    x, y, z = u[..., 0:1], u[..., 1:2], u[..., 2:3]
    orders = [low[..., 4:9], low[..., 9:16]]
    for l in range(4, l_max + 1):  # noqa: E741
        of_last, of_below, of_ends = _of_two_before(l, u)
        below, last = orders[-2], orders[-1]
        first, end = last[..., :1], last[..., -1:]
        inside = of_last * z * last - pad(of_below * below, [1, 1])
        orders.append(torch.cat([of_ends * (x * first + y * end), inside, of_ends * (x * end - y * first)], dim=-1))
    return orders[2:]


def _higher_backward(u: Tensor, h: Tensor) -> Tuple[Tensor, Tensor]:
    """What orders above those that are written out do directly, [..., 3], and all that is left by lower ones."""
    x, y, z = u[..., 0:1], u[..., 1:2], u[..., 2:3]
    l_max = int(math.sqrt(float(h.shape[-1])) + 0.5) - 1
    sizes = [2 * l + 1 for l in range(l_max + 1)]  # noqa: E741
    values, bars = harmonics(u, l_max - 1).split(sizes[:-1], dim=-1), list(h.split(sizes, dim=-1))
    gx, gy, gz = torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(x)
    for l in range(l_max, 3, -1):  # noqa: E741
        of_last, of_below, of_ends = _of_two_before(l, u)
        last, bar = values[l - 1], bars[l]
        first, end = of_ends * bar[..., :1], of_ends * bar[..., -1:]
        inside = of_last * bar[..., 1:-1]
        gx = gx + first * last[..., :1] + end * last[..., -1:]
        gy = gy + first * last[..., -1:] - end * last[..., :1]
        gz = gz + (inside * last).sum(-1, keepdim=True)
        ends = [x * first - y * end, torch.zeros_like(x * inside[..., 1:-1]), y * first + x * end]
        bars[l - 1] = bars[l - 1] + z * inside + torch.cat(ends, dim=-1)
        bars[l - 2] = bars[l - 2] - of_below * bar[..., 2:-2]
    outer = bars[3].shape[:-1]
    low = torch.cat([bar.expand(outer + bar.shape[-1:]) for bar in bars[:4]], dim=-1)
    return torch.cat([gx, gy, gz], dim=-1), low
