"""``potential.harmonics`` in loops over the rows of a block: orders above 1, and two transposes of their derivative."""

import numpy as np

from ase_deeppot.potential.kernels.compilation import compiled
from ase_deeppot.potential.kernels.layout import UX, UY, UZ, WIDTH, Array, U, Y, rows

A, B, C, D = 3.0**0.5, 0.625**0.5, 15.0**0.5, 0.375**0.5


@compiled
def row(a: int) -> np.uint64:
    """Where the row of the a-th harmonic starts, after the first one's."""
    return U(a * WIDTH)


@compiled
def fill(value: Array, o: np.uint64, n: int, l_max: int) -> None:
    """Fill the rows of the harmonics above order 1 of the block at ``o``, and the empty ones after them."""
    if l_max >= 2:
        _fill_second(value, o, U(n))
    if l_max >= 3:
        _fill_third(value, o, U(n))
    for a in range((l_max + 1) ** 2, rows(l_max)):
        for e in range(U(n)):
            value[o + e + Y + row(a)] = 0


@compiled
def _fill_second(value: Array, o: np.uint64, n: np.uint64) -> None:
    number = value.dtype.type
    a, half, more = number(A), number(0.5), number(1.5)
    for e in range(n):
        x, y, z = value[o + e + UX], value[o + e + UY], value[o + e + UZ]
        at = o + e + Y
        value[at + row(4)] = a * x * y
        value[at + row(5)] = a * y * z
        value[at + row(6)] = more * z * z - half
        value[at + row(7)] = a * x * z
        value[at + row(8)] = half * a * (x * x - y * y)


@compiled
def _fill_third(value: Array, o: np.uint64, n: np.uint64) -> None:
    number = value.dtype.type
    b, c, d = number(B), number(C), number(D)
    one, three, five, half = number(1), number(3), number(5), number(0.5)
    for e in range(n):
        x, y, z = value[o + e + UX], value[o + e + UY], value[o + e + UZ]
        at, most = o + e + Y, five * z * z - one
        value[at + row(9)] = b * y * (three * x * x - y * y)
        value[at + row(10)] = c * x * y * z
        value[at + row(11)] = d * y * most
        value[at + row(12)] = half * z * (most - one - one)
        value[at + row(13)] = d * x * most
        value[at + row(14)] = half * c * z * (x * x - y * y)
        value[at + row(15)] = b * x * (x * x - three * y * y)


@compiled
def add_turns(value: Array, o: np.uint64, n: np.uint64, l_max: int, h: np.uint64, room: Array) -> None:
    """Add ``sum_a h_a dY_a/du``, a above order 1, to the rows of order 1; those of h_a start at ``h`` in the room."""
    if l_max >= 2:
        _add_second(value, o, n, h, room)
    if l_max >= 3:
        _add_third(value, o, n, h, room)


@compiled
def _add_second(value: Array, o: np.uint64, n: np.uint64, h: np.uint64, room: Array) -> None:
    number = value.dtype.type
    a, three = number(A), number(3)
    for e in range(n):
        x, y, z = value[o + e + UX], value[o + e + UY], value[o + e + UZ]
        at = h + e
        h0, h1, h3, h4 = a * room[at + row(4)], a * room[at + row(5)], a * room[at + row(7)], a * room[at + row(8)]
        room[at + row(1)] += y * h0 + z * h3 + x * h4
        room[at + row(2)] += x * h0 + z * h1 - y * h4
        room[at + row(3)] += y * h1 + x * h3 + three * z * room[at + row(6)]


@compiled
def _add_third(value: Array, o: np.uint64, n: np.uint64, h: np.uint64, room: Array) -> None:
    number = value.dtype.type
    b, c, d = number(B), number(C), number(D)
    one, two, three, five, half = number(1), number(2), number(3), number(5), number(0.5)
    for e in range(n):
        x, y, z = value[o + e + UX], value[o + e + UY], value[o + e + UZ]
        at, most, square = h + e, five * z * z - one, three * (x * x - y * y)
        h0, h6 = b * room[at + row(9)], b * room[at + row(15)]
        h1, h5 = c * room[at + row(10)], c * room[at + row(14)]
        h2, h4 = d * room[at + row(11)], d * room[at + row(13)]
        six = two * three * x * y
        room[at + row(1)] += six * h0 + y * z * h1 + most * h4 + x * z * h5 + square * h6
        room[at + row(2)] += square * h0 + x * z * h1 + most * h2 - y * z * h5 - six * h6
        room[at + row(3)] += (x * y * h1 + two * five * z * (y * h2 + x * h4)
                              + half * three * most * room[at + row(12)] + half * (x * x - y * y) * h5)


@compiled
def spread(value: Array, o: np.uint64, n: np.uint64, l_max: int, weight: Array) -> None:
    """Fill the rows above order 1 with ``g . dY_a/du``, for g in the rows of order 1; and the empty ones with zeros."""
    if l_max >= 2:
        _spread_second(value, o, n, weight)
    if l_max >= 3:
        _spread_third(value, o, n, weight)
    for a in range((l_max + 1) ** 2, rows(l_max)):
        for e in range(n):
            weight[e + row(a)] = 0


@compiled
def _spread_second(value: Array, o: np.uint64, n: np.uint64, weight: Array) -> None:
    number = value.dtype.type
    a, three = number(A), number(3)
    for e in range(n):
        x, y, z = value[o + e + UX], value[o + e + UY], value[o + e + UZ]
        gx, gy, gz = weight[e + row(1)], weight[e + row(2)], weight[e + row(3)]
        weight[e + row(4)] = a * (y * gx + x * gy)
        weight[e + row(5)] = a * (z * gy + y * gz)
        weight[e + row(6)] = three * z * gz
        weight[e + row(7)] = a * (z * gx + x * gz)
        weight[e + row(8)] = a * (x * gx - y * gy)


@compiled
def _spread_third(value: Array, o: np.uint64, n: np.uint64, weight: Array) -> None:
    number = value.dtype.type
    b, c, d = number(B), number(C), number(D)
    one, two, three, five, half = number(1), number(2), number(3), number(5), number(0.5)
    for e in range(n):
        x, y, z = value[o + e + UX], value[o + e + UY], value[o + e + UZ]
        gx, gy, gz = weight[e + row(1)], weight[e + row(2)], weight[e + row(3)]
        most, square, six = five * z * z - one, three * (x * x - y * y), two * three * x * y
        ten = two * five * z * gz
        weight[e + row(9)] = b * (six * gx + square * gy)
        weight[e + row(10)] = c * (y * z * gx + x * z * gy + x * y * gz)
        weight[e + row(11)] = d * (most * gy + ten * y)
        weight[e + row(12)] = half * three * most * gz
        weight[e + row(13)] = d * (most * gx + ten * x)
        weight[e + row(14)] = c * (x * z * gx - y * z * gy + half * (x * x - y * y) * gz)
        weight[e + row(15)] = b * (square * gx - six * gy)
