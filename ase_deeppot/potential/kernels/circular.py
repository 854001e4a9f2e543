"""cos and sin in whole vectors: numba calls the C library's for each number."""

from typing import Any

import numpy as np
from numba import njit

from ase_deeppot.potential.kernels.compilation import FAST
from ase_deeppot.potential.kernels.exponential import whole

BOUND = 1e4  # of arguments: far beyond those of any atom


@njit(inline="always", error_model="numpy", fastmath=FAST, nogil=True)
def cos_and_sin(x: float, f: Any) -> tuple[float, float]:
    """To rounding, for x of type f, between -BOUND and BOUND; beyond, those of the nearer of these; of NaN, NaN.

    cos(x) = (-1)^k cos(r) and sin(x) = (-1)^k sin(r) with |r| at most pi / 2, for which eleven terms of each series
    are enough.
    """
    x = f(BOUND) if x > f(BOUND) else x
    x = f(-BOUND) if x < f(-BOUND) else x
    reduced: Any = whole(x * f(0.3183098861837907) + f(4096.5))  # type: ignore[call-arg]  # rounds down above zero
    k = reduced - np.int32(4096)
    r = f(np.float64(x) - np.float64(k) * 3.141592653589793)  # what is taken away has more digits than x
    q = r * r
    c = q * f(1 / 2432902008176640000) - f(1 / 6402373705728000)
    c = c * q + f(1 / 20922789888000)
    c = c * q - f(1 / 87178291200)
    c = c * q + f(1 / 479001600)
    c = c * q - f(1 / 3628800)
    c = c * q + f(1 / 40320)
    c = c * q - f(1 / 720)
    c = c * q + f(1 / 24)
    c = c * q - f(0.5)
    c = c * q + f(1)
    s = q * f(1 / 51090942171709440000) - f(1 / 121645100408832000)
    s = s * q + f(1 / 355687428096000)
    s = s * q - f(1 / 1307674368000)
    s = s * q + f(1 / 6227020800)
    s = s * q - f(1 / 39916800)
    s = s * q + f(1 / 362880)
    s = s * q - f(1 / 5040)
    s = s * q + f(1 / 120)
    s = s * q - f(1 / 6)
    s = s * q + f(1)
    sign = f(1) - f(2) * f(reduced & np.int32(1))  # 4096 is even
    return sign * c, sign * r * s
