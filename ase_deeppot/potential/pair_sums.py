"""The two sums over pairs that training needs: moments, and forces from dE/dP; compiled where that is possible."""

from typing import Any, NamedTuple, Tuple

import numpy as np
import torch
from torch import Tensor

from ase_deeppot.compiler import compilable
from ase_deeppot.potential.derivatives import forces, virials
from ase_deeppot.potential.descriptor import Environment, Neighbors, Structures
from ase_deeppot.potential.moments import Basis, blocks, moments, pair_gradient


class Radial(NamedTuple):
    """What the sums are made with: a ``descriptor.Geometry``."""

    basis: Basis
    n_types: int
    dtype: torch.dtype

    def shape(self) -> Tuple[int, int, int]:
        """Y, T and L."""
        return (self.basis.l_max + 1) ** 2, self.n_types, self.basis.order

    def environment(self, structures: Structures) -> Environment:
        """The moments P [N, Y, T, L]."""
        return _moments(moments_of(self, structures))

    def forces_and_virials(self, structures: Structures, environment: Environment, k: Tensor) -> Tuple[Tensor, Tensor]:
        """Forces [N, 3], eV/A, and atomic virials [N, 3, 3], eV, from K = dE/dP [N, Y, T, L]; differentiable in K."""
        return forces_and_virials(self, structures, k)

    def describe(self, neighbors: Neighbors) -> Environment:
        """The moments P [N, Y, T, L]."""
        return _moments(moments(_blocks(self, neighbors)))

    def pair_gradient(self, neighbors: Neighbors, environment: Environment, k: Tensor) -> Tensor:
        """dE/dv of each pair, [E, 3] float64, eV/A, from K = dE/dP [N, Y, T, L]; differentiable in K."""
        return pair_gradient(_blocks(self, neighbors), k, len(neighbors.i))


def moments_of(radial: Radial, structures: Structures) -> Tensor:
    """P, [N, Y, T, L]."""
    if not _compiled(structures):
        return moments(_blocks(radial, structures.neighbors()))
    from ase_deeppot.potential import kernels

    shape = len(structures.types), (radial.basis.l_max + 1) ** 2, radial.n_types, radial.basis.order
    p = np.empty(shape, _numpy(radial.dtype))
    kernels.moments(_gather(radial, structures), p)
    return torch.from_numpy(p)


def forces_and_virials(radial: Radial, structures: Structures, k: Tensor) -> Tuple[Tensor, Tensor]:
    """Forces [N, 3], eV/A, and atomic virials [N, 3, 3], eV, from K = dE/dP [N, Y, T, L]; differentiable in K."""
    if _compiled(structures):
        result: Tuple[Tensor, Tensor] = _ForcesAndVirials.apply(k, radial, structures)
        return result
    n, (_, i, j, vectors) = len(structures.types), structures
    gradient = pair_gradient(_blocks(radial, structures.neighbors()), k, len(i))
    return forces(gradient, i, j, n), virials(gradient, vectors, j, n)


class _ForcesAndVirials(torch.autograd.Function):
    """The sum over pairs in compiled loops, and its transpose; both are linear."""

    @staticmethod
    def forward(ctx: Any, k: Tensor, radial: Radial, structures: Structures) -> Tuple[Tensor, Tensor]:
        from ase_deeppot.potential import kernels

        n = len(structures.types)
        force, virial = np.zeros((n, 3)), np.zeros((n, 3, 3))
        ctx.shape = k.shape
        ctx.kept = _gather(radial, structures), radial, structures
        kernels.forces_and_virials(ctx.kept[0], radial.basis.s_max, k.detach().contiguous().numpy(), np.arange(n),
                                   structures.j.numpy(), structures.vectors.numpy(), force, virial)
        return torch.from_numpy(force), torch.from_numpy(virial)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tuple[Tensor, None, None]:
        from ase_deeppot.potential import kernels

        neighbors, radial, structures = ctx.kept
        n = len(structures.types)
        f_bar, v_bar = (grad.contiguous().numpy() for grad in grads)
        k_bar = np.empty(ctx.shape, _numpy(radial.dtype))
        kernels.forces_and_virials_backward(neighbors, radial.basis.s_max, np.arange(n), structures.j.numpy(),
                                            structures.vectors.numpy(), f_bar, v_bar, k_bar)
        return torch.from_numpy(k_bar), None, None


def _compiled(structures: Structures) -> bool:
    return structures.vectors.device.type == "cpu" and compilable()


def _gather(radial: Radial, structures: Structures) -> Any:
    from ase_deeppot.potential import kernels

    types, i, j, vectors = (part.numpy() for part in structures)
    result = kernels.new_blocks(len(types) * radial.n_types, len(i), _numpy(radial.dtype), radial.basis.l_max)
    first, closest = np.searchsorted(i, np.arange(len(types) + 1)), np.full(radial.n_types, np.inf)
    kernels.gather(np.arange(len(types)), first, types, j, vectors, radial.basis[1:4], closest, result)
    return result


def _blocks(radial: Radial, neighbors: Neighbors) -> Any:
    types, i, types_j, vectors = neighbors
    return blocks(radial.basis, len(types), radial.n_types, i, types_j, vectors, radial.dtype)


def _moments(p: Tensor) -> Environment:
    return Environment(p, torch.empty(len(p), 0, dtype=torch.int32, device=p.device))


def _numpy(dtype: torch.dtype) -> np.dtype:
    return np.dtype(str(dtype).removeprefix("torch."))
