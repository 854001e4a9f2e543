"""``potential.harmonics`` in loops over the rows of a block: orders above 1, and two transposes of their derivative.

Those above order 3 come from the two orders before, and so do their derivatives.
"""

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
    for l in range(4, l_max + 1):  # noqa: E741
        _fill_higher(value, o, U(n), l)
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
def _of_two_before(l: int, m: int) -> tuple[float, float]:  # noqa: E741
    """What multiplies z times Y_(l-1)m, and Y_(l-2)m, for |m| < l; see ``potential.harmonics``."""
    left = l * l - m * m
    return (2 * l - 1) / np.sqrt(left), np.sqrt(((l - 1) ** 2 - m * m) / left)


@compiled
def _of_ends(l: int) -> float:  # noqa: E741
    return np.sqrt((2 * l - 1) / (2 * l))


@compiled
def _fill_higher(value: Array, o: np.uint64, n: np.uint64, l: int) -> None:  # noqa: E741
    number = value.dtype.type
    at, before = o + Y + row(l * l), o + Y + row((l - 1) ** 2)
    first, end, ends = before, before + row(2 * l - 2), number(_of_ends(l))
    for e in range(n):
        x, y = value[o + e + UX], value[o + e + UY]
        value[at + e] = ends * (x * value[first + e] + y * value[end + e])
        value[at + row(2 * l) + e] = ends * (x * value[end + e] - y * value[first + e])
    for k in range(1, 2 * l):
        of_last, of_below = _of_two_before(l, k - l)
        a, b = number(of_last), number(of_below)
        target, last, below = at + row(k), before + row(k - 1), o + Y + row(_below(l, k))
        for e in range(n):
            value[target + e] = a * value[o + e + UZ] * value[last + e] - b * value[below + e]


@compiled
def _below(l: int, k: int) -> int:  # noqa: E741
    """Number of the harmonic of order l - 2 with the same m as the k-th of order l; any other if there is none."""
    return (l - 2) ** 2 + min(max(k - 2, 0), 2 * l - 4)


@compiled
def add_turns(value: Array, o: np.uint64, n: np.uint64, l_max: int, h: np.uint64, room: Array) -> None:
    """Add ``sum_a h_a dY_a/du``, a above order 1, to the rows of order 1; those of h_a start at ``h`` in the room.

    The rows of other orders are changed on the way.
    """
    for l in range(l_max, 3, -1):  # noqa: E741
        _add_higher(value, o, n, l, h, room)
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
def _add_higher(value: Array, o: np.uint64, n: np.uint64, l: int, h: np.uint64, room: Array) -> None:  # noqa: E741
    """From the rows h of order l to those of the two orders before and of order 1."""
    number = value.dtype.type
    at, before, value_before = h + row(l * l), h + row((l - 1) ** 2), o + Y + row((l - 1) ** 2)
    for k in range(1, 2 * l):
        of_last, of_below = _of_two_before(l, k - l)
        a, b = number(of_last), number(of_below)
        source, last, below = at + row(k), before + row(k - 1), h + row(_below(l, k))
        for e in range(n):
            bar = room[source + e]
            room[h + e + row(3)] += a * bar * value[value_before + row(k - 1) + e]
            room[last + e] += a * bar * value[o + e + UZ]
            room[below + e] -= b * bar
    end, value_end, ends = before + row(2 * l - 2), value_before + row(2 * l - 2), number(_of_ends(l))
    for e in range(n):
        x, y = value[o + e + UX], value[o + e + UY]
        low, high = ends * room[at + e], ends * room[at + row(2 * l) + e]
        room[h + e + row(1)] += low * value[value_before + e] + high * value[value_end + e]
        room[h + e + row(2)] += low * value[value_end + e] - high * value[value_before + e]
        room[before + e] += x * low - y * high
        room[end + e] += y * low + x * high


@compiled
def spread(value: Array, o: np.uint64, n: np.uint64, l_max: int, weight: Array) -> None:
    """Fill the rows above order 1 with ``g . dY_a/du``, for g in the rows of order 1; and the empty ones with zeros."""
    if l_max >= 2:
        _spread_second(value, o, n, weight)
    if l_max >= 3:
        _spread_third(value, o, n, weight)
    for l in range(4, l_max + 1):  # noqa: E741
        _spread_higher(value, o, n, l, weight)
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


@compiled
def _spread_higher(value: Array, o: np.uint64, n: np.uint64, l: int, weight: Array) -> None:  # noqa: E741
    number = value.dtype.type
    at, before, value_before = row(l * l), row((l - 1) ** 2), o + Y + row((l - 1) ** 2)
    end, value_end, ends = before + row(2 * l - 2), value_before + row(2 * l - 2), number(_of_ends(l))
    for e in range(n):
        x, y, gx, gy = value[o + e + UX], value[o + e + UY], weight[e + row(1)], weight[e + row(2)]
        low, high = value[value_before + e], value[value_end + e]
        low_dot, high_dot = weight[before + e], weight[end + e]
        weight[at + e] = ends * (gx * low + x * low_dot + gy * high + y * high_dot)
        weight[at + row(2 * l) + e] = ends * (gx * high + x * high_dot - gy * low - y * low_dot)
    for k in range(1, 2 * l):
        of_last, of_below = _of_two_before(l, k - l)
        a, b = number(of_last), number(of_below)
        target, last, below, value_last = at + row(k), before + row(k - 1), row(_below(l, k)), value_before + row(k - 1)
        for e in range(n):
            moved = weight[e + row(3)] * value[value_last + e] + value[o + e + UZ] * weight[last + e]
            weight[target + e] = a * moved - b * weight[below + e]
