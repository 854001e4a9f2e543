"""What the kernels know of pairs: distances, weights, polynomials and harmonics; as `environment` and `harmonics`."""

import triton
import triton.language as tl

# Constants of the harmonics; Triton reads no other globals.
A3 = tl.constexpr(3.0**0.5)
B3 = tl.constexpr(0.625**0.5)
C3 = tl.constexpr(15.0**0.5)
D3 = tl.constexpr(0.375**0.5)


@triton.jit
def radial_weight(r, rcut_smth, rcut):
    """``s(r) = w(r) / r`` and ds/dr."""
    width = rcut - rcut_smth
    u = tl.minimum(tl.maximum((r - rcut_smth) / width, 0.0), 1.0)
    w = u * u * u * (u * (15.0 - 6.0 * u) - 10.0) + 1.0
    s = w / r
    slope = u * (1.0 - u)
    return s, (-30.0 / width * slope * slope - s) / r


@triton.jit
def pair(vectors, e, there, rcut_smth, rcut, net: tl.constexpr):
    """Of pairs e: distance and s, ds/dr, 1/r, the direction in the precision of the nets; beyond the cutoff if not."""
    x = tl.load(vectors + 3 * e, mask=there, other=2.0 * rcut)
    y = tl.load(vectors + 3 * e + 1, mask=there, other=0.0)
    z = tl.load(vectors + 3 * e + 2, mask=there, other=0.0)
    r = tl.sqrt(x * x + y * y + z * z)
    s, ds = radial_weight(r, rcut_smth, rcut)
    return r, s.to(net), ds.to(net), (1.0 / r).to(net), (x / r).to(net), (y / r).to(net), (z / r).to(net)


@triton.jit
def argument(s, s_max, bend):
    """x and ``s dx/ds``, as ``moments.argument``."""
    share = 1.0 / (1.0 + (bend / s_max).to(s.dtype) * s)
    above = (2.0 * (1.0 + bend) / s_max).to(s.dtype) * s * share
    return above - 1.0, above * share


@triton.jit
def harmonics(x, y, z, rows, n: tl.constexpr):
    """Y_a(u) for a = rows [P, 1] and directions [1, B]; rows from n on are zero."""
    value = tl.where(rows == 0, 1.0, 0.0).to(x.dtype)
    value = tl.where(rows == 1, x, value)
    value = tl.where(rows == 2, y, value)
    value = tl.where(rows == 3, z, value)
    if n > 4:
        value = tl.where(rows == 4, A3 * x * y, value)
        value = tl.where(rows == 5, A3 * y * z, value)
        value = tl.where(rows == 6, 1.5 * z * z - 0.5, value)
        value = tl.where(rows == 7, A3 * x * z, value)
        value = tl.where(rows == 8, 0.5 * A3 * (x * x - y * y), value)
    if n > 9:
        five = 5.0 * z * z - 1.0
        value = tl.where(rows == 9, B3 * y * (3.0 * x * x - y * y), value)
        value = tl.where(rows == 10, C3 * x * y * z, value)
        value = tl.where(rows == 11, D3 * y * five, value)
        value = tl.where(rows == 12, z * (2.5 * z * z - 1.5), value)
        value = tl.where(rows == 13, D3 * x * five, value)
        value = tl.where(rows == 14, 0.5 * C3 * z * (x * x - y * y), value)
        value = tl.where(rows == 15, B3 * x * (x * x - 3.0 * y * y), value)
    return value


@triton.jit
def harmonics_along(x, y, z, qx, qy, qz, rows, n: tl.constexpr):
    """``q . dY_a/du`` for a = rows [P, 1] and directions [1, B]; rows from n on are zero."""
    value = tl.where(rows == 1, qx, 0.0)
    value = tl.where(rows == 2, qy, value)
    value = tl.where(rows == 3, qz, value)
    if n > 4:
        value = tl.where(rows == 4, A3 * (x * qy + y * qx), value)
        value = tl.where(rows == 5, A3 * (y * qz + z * qy), value)
        value = tl.where(rows == 6, 3.0 * z * qz, value)
        value = tl.where(rows == 7, A3 * (x * qz + z * qx), value)
        value = tl.where(rows == 8, A3 * (x * qx - y * qy), value)
    if n > 9:
        five = 5.0 * z * z - 1.0
        three = 3.0 * (x * x - y * y)
        value = tl.where(rows == 9, B3 * (6.0 * x * y * qx + three * qy), value)
        value = tl.where(rows == 10, C3 * (y * z * qx + x * z * qy + x * y * qz), value)
        value = tl.where(rows == 11, D3 * (five * qy + 10.0 * y * z * qz), value)
        value = tl.where(rows == 12, (7.5 * z * z - 1.5) * qz, value)
        value = tl.where(rows == 13, D3 * (five * qx + 10.0 * x * z * qz), value)
        value = tl.where(rows == 14, C3 * z * (x * qx - y * qy) + C3 / 6.0 * three * qz, value)
        value = tl.where(rows == 15, B3 * (three * qx - 6.0 * x * y * qy), value)
    return value


@triton.jit
def row(h, rows, a: tl.constexpr):
    """h_a [B] of h [P, B]."""
    return tl.sum(tl.where(rows == a, h, 0.0), axis=0)


@triton.jit
def harmonics_backward(x, y, z, h, rows, n: tl.constexpr):
    """``sum_a h_a dY_a/du``, three times [B], from h [P, B]."""
    gx, gy, gz = row(h, rows, 1), row(h, rows, 2), row(h, rows, 3)
    if n > 4:
        h0, h1, h2, h3, h4 = row(h, rows, 4), row(h, rows, 5), row(h, rows, 6), row(h, rows, 7), row(h, rows, 8)
        gx += A3 * (y * h0 + z * h3 + x * h4)
        gy += A3 * (x * h0 + z * h1 - y * h4)
        gz += A3 * (y * h1 + x * h3) + 3.0 * z * h2
    if n > 9:
        h0, h1, h2, h3 = row(h, rows, 9), row(h, rows, 10), row(h, rows, 11), row(h, rows, 12)
        h4, h5, h6 = row(h, rows, 13), row(h, rows, 14), row(h, rows, 15)
        five = 5.0 * z * z - 1.0
        three = 3.0 * (x * x - y * y)
        gx += 6.0 * B3 * x * y * h0 + C3 * y * z * h1 + D3 * five * h4 + C3 * x * z * h5 + B3 * three * h6
        gy += B3 * three * h0 + C3 * x * z * h1 + D3 * five * h2 - C3 * y * z * h5 - 6.0 * B3 * x * y * h6
        gz += C3 * x * y * h1 + 10.0 * D3 * z * (y * h2 + x * h4) + (7.5 * z * z - 1.5) * h3 + C3 / 6.0 * three * h5
    return gx, gy, gz
