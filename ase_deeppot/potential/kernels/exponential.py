"""exp in whole vectors: numba calls the C library's for each number."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ase_deeppot.potential.kernels.compilation import FAST

BOUND = 80.0  # of arguments: exp(80) is finite in single precision


@intrinsic
def _whole(context: Any, x: Any) -> Any:
    """x without its fraction, as a short integer; numba's are long ones, to which few processors convert vectors."""
    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        return builder.fptosi(values[0], ir.IntType(32))
    return types.int32(x), generate


@intrinsic
def _power_of_two(context: Any, k: Any, like: Any) -> Any:
    """2^k in the precision of ``like``: k is its exponent."""
    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        exponent, other = values
        bits, mantissa, bias = (64, 52, 1023) if other.type == ir.DoubleType() else (32, 23, 127)
        biased = builder.add(exponent, ir.Constant(exponent.type, bias))
        wide = builder.sext(biased, ir.IntType(bits)) if bits > 32 else biased
        return builder.bitcast(builder.shl(wide, ir.Constant(wide.type, mantissa)), other.type)
    return like(types.int32, like), generate


@njit(inline="always", error_model="numpy", fastmath=FAST, nogil=True)
def exp(x: float, f: Any) -> float:
    """To rounding, for x of type f, between -BOUND and BOUND; beyond, that of the nearer of these; of NaN, NaN.

    exp(x) = 2^k exp(r) with |r| at most log(2) / 2, for which 13 terms of its series are enough.
    """
    x = f(BOUND) if x > f(BOUND) else x
    x = f(-BOUND) if x < f(-BOUND) else x
    reduced: Any = _whole(x * f(1.4426950408889634) + f(200.5))  # type: ignore[call-arg]  # what rounds down above zero
    k = reduced - np.int32(200)
    r = x - f(k) * f(0.6931471805599453)
    e = r * f(1 / 6227020800) + f(1 / 479001600)
    e = e * r + f(1 / 39916800)
    e = e * r + f(1 / 3628800)
    e = e * r + f(1 / 362880)
    e = e * r + f(1 / 40320)
    e = e * r + f(1 / 5040)
    e = e * r + f(1 / 720)
    e = e * r + f(1 / 120)
    e = e * r + f(1 / 24)
    e = e * r + f(1 / 6)
    e = e * r + f(0.5)
    e = e * r + f(1)
    e = e * r + f(1)
    return e * _power_of_two(k, r)


@njit(inline="always", error_model="numpy", fastmath=FAST, nogil=True)
def sigmoid(x: float, f: Any) -> float:
    """``1 / (1 + exp(-x))``."""
    return f(1) / (f(1) + exp(-x, f))
