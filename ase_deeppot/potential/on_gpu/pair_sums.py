"""The sums over pairs that training needs, in kernels."""

from typing import Tuple

import torch
from torch import Tensor

from ase_deeppot.potential.descriptor import Structures
from ase_deeppot.potential.moments import Basis
from ase_deeppot.potential.on_gpu.environments import Environments
from ase_deeppot.potential.on_gpu.forces import add_forces
from ase_deeppot.potential.on_gpu.forces_backward import forces_backward
from ase_deeppot.potential.on_gpu.moments import moments


class GpuSums:
    """`pair_sums.PairSums` of structures on a GPU."""

    def __init__(self, basis: Basis, n_types: int, dtype: torch.dtype, structures: Structures) -> None:
        types, i, j, vectors = structures
        first = torch.searchsorted(i, torch.arange(len(types) + 1, dtype=i.dtype, device=i.device))
        self.basis, self.n_types, self.dtype = basis, n_types, dtype
        self.structure = Environments(first, j.int(), types.int(), vectors.contiguous())

    def moments(self) -> Tensor:
        """P, [N, Y, T, L]."""
        return moments(self.basis, self.n_types, self.structure, self.dtype)[0]

    def forces_and_virials(self, k: Tensor) -> Tuple[Tensor, Tensor]:
        """Forces [N, 3], eV/A, and atomic virials [N, 3, 3], eV, from K = dE/dP [N, Y, T, L]."""
        force, virial = (torch.zeros(len(k), *shape, dtype=torch.float64, device=k.device) for shape in ((3,), (3, 3)))
        add_forces(self.basis, self.structure, k, 0, force, virial)
        return force, virial

    def backward(self, force_bar: Tensor, virial_bar: Tensor, shape: torch.Size) -> Tensor:
        """dL/dK, [N, Y, T, L], from dL/dF and dL/dW."""
        k_bar = torch.empty(shape, dtype=self.dtype, device=force_bar.device)
        forces_backward(self.basis, self.structure, force_bar, virial_bar, k_bar)
        return k_bar
