"""What a kernel is told of a structure: the neighbours of some atoms."""

from functools import cache
from typing import NamedTuple

import torch
import triton.language as tl
from torch import Tensor

from ase_deeppot.potential.moments import Basis


class Environments(NamedTuple):
    """Centres, and the pairs that start from them; on the device."""

    first: Tensor  # [n + 1] int64, first pair of each centre
    j: Tensor  # [E] int32, neighbours, atoms of the structure
    types: Tensor  # [N] int32, of all atoms
    vectors: Tensor  # [E, 3] float64, A


def net_type(dtype: torch.dtype) -> tl.dtype:
    """Triton's name of the precision of the nets."""
    return {torch.float64: tl.float64, torch.float32: tl.float32}[dtype]


@cache  # a copy to the device takes as long as a kernel
def range_of(basis: Basis, device: torch.device) -> Tensor:
    """s_max, b, rcut_smth and rcut, [4] float64: a number passed to a kernel would be rounded to single precision."""
    return torch.tensor(basis[1:5], dtype=torch.float64, device=device)
