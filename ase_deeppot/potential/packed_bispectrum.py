"""The bispectrum as the compiled loops take it."""

import functools

import numpy as np
import torch

from ase_deeppot.potential import kernels
from ase_deeppot.potential.bispectrum import couplings


@functools.cache
def packed(l_max: int, columns: int, precision: str) -> kernels.Third:
    """Tables of what couples, and of which invariants there are; "float64" or "float32"."""
    rows: list[np.ndarray] = []
    values: list[float] = []
    pairs: list[list[int]] = []
    count = 0
    for one in couplings(l_max, columns, torch.float64):
        gaunt, begin = one.gaunt.numpy(), len(values)
        orders = [place + 1 for place in (one.first, one.second, one.third)]
        first = np.array([l * l - 1 for l in orders])  # noqa: E741  # rows of order 1 are the first
        for xyz in np.argwhere(gaunt):
            rows.append(first + xyz)
            values.append(float(gaunt[tuple(xyz)]))
        terms, of_third = (begin, len(values)), (first[2], first[2] + 2 * orders[2] + 1)
        abc = np.stack(np.unravel_index(one.places.numpy(), (one.columns,) * 3), axis=1)
        _, starts = np.unique(abc[:, :2], axis=0, return_index=True)  # the last column runs to the end
        pairs += [[*terms, *abc[start], count + start, *of_third] for start in starts]
        count += len(abc)
    return kernels.Third(np.array(rows, np.int64).reshape(-1, 3), np.array(values, precision),
                         np.array(pairs, np.int64).reshape(-1, 8), columns, count)
