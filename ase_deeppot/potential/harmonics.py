"""Directions as real spherical harmonics up to order 3, and the way back.

Normalised so that ``sum_m Y_lm(u) Y_lm(v) = P_l(u . v)``, the Legendre polynomial; order 0 is 1, order 1 is u itself,
and within the higher ones m ascends.
"""

import torch
from torch import Tensor


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
    return torch.stack(values, dim=-1)


def harmonics_backward(u: Tensor, h: Tensor) -> Tensor:
    """``sum_a h_a dY_a/du``, [..., 3], from h [..., (l_max + 1)^2]; only what is across u means anything."""
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
