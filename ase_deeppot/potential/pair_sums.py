"""The two sums over pairs that training needs: moments, and forces from dE/dP; compiled where that is possible."""

from typing import Any, List, NamedTuple, Protocol, Tuple

import numpy as np
import torch
from torch import Tensor

from ase_deeppot.compiler import compilable
from ase_deeppot.potential.derivatives import forces, virials
from ase_deeppot.potential.descriptor import Environment, Neighbors, Structures
from ase_deeppot.potential.moments import Basis, blocks, moments, pair_gradient
from ase_deeppot.potential.on_gpu.available import kernels_for
from ase_deeppot.potential.threads import shared_threads, threads_for


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
    if kernels_for(structures.vectors.device, radial.basis.l_max):
        from ase_deeppot.potential.on_gpu.pair_sums import GpuSums

        return GpuSums(*radial, structures).moments()
    if not _compiled(structures):
        return moments(_blocks(radial, structures.neighbors()))
    from ase_deeppot.potential import kernels

    shape = len(structures.types), (radial.basis.l_max + 1) ** 2, radial.n_types, radial.basis.order
    p = np.empty(shape, _numpy(radial.dtype))
    kernels.moments(_gather(radial, structures, np.arange(len(p))), p)
    return torch.from_numpy(p)


def forces_and_virials(radial: Radial, structures: Structures, k: Tensor) -> Tuple[Tensor, Tensor]:
    """Forces [N, 3], eV/A, and atomic virials [N, 3, 3], eV, from K = dE/dP [N, Y, T, L]; differentiable in K."""
    if kernels_for(structures.vectors.device, radial.basis.l_max):
        from ase_deeppot.potential.on_gpu.pair_sums import GpuSums

        return _applied(k, GpuSums(*radial, structures))
    if _compiled(structures):
        return _applied(k, _CompiledSums(radial, structures))
    n, (_, i, j, vectors) = len(structures.types), structures
    gradient = pair_gradient(_blocks(radial, structures.neighbors()), k, len(i))
    return forces(gradient, i, j, n), virials(gradient, vectors, j, n)


class PairSums(Protocol):
    """The sum over pairs, and its transpose; both are linear."""

    def forces_and_virials(self, k: Tensor) -> Tuple[Tensor, Tensor]:
        """Forces [N, 3], eV/A, and atomic virials [N, 3, 3], eV, from K = dE/dP [N, Y, T, L]."""
        ...

    def backward(self, force_bar: Tensor, virial_bar: Tensor, shape: torch.Size) -> Tensor:
        """dL/dK, [N, Y, T, L], from dL/dF and dL/dW."""
        ...


class _ForcesAndVirials(torch.autograd.Function):
    """Sums that autograd does not look into."""

    @staticmethod
    def forward(ctx: Any, k: Tensor, sums: PairSums) -> Tuple[Tensor, Tensor]:
        ctx.sums, ctx.shape = sums, k.shape
        return sums.forces_and_virials(k.detach().contiguous())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tuple[Tensor, None]:
        force_bar, virial_bar = (grad.contiguous() for grad in grads)
        return ctx.sums.backward(force_bar, virial_bar, ctx.shape), None


def _applied(k: Tensor, sums: PairSums) -> Tuple[Tensor, Tensor]:
    result: Tuple[Tensor, Tensor] = _ForcesAndVirials.apply(k, sums)
    return result


class _CompiledSums:
    """`PairSums` in compiled loops, centres shared among threads."""

    def __init__(self, radial: Radial, structures: Structures) -> None:
        self.radial, self.structures, n = radial, structures, len(structures.types)
        threads = threads_for(n)
        self.centres = np.array_split(np.arange(n), threads)
        self.neighbors: List[Any] = [None] * threads

        def gather(share: int) -> None:
            self.neighbors[share] = _gather(radial, structures, self.centres[share])

        shared_threads().run(gather, threads)

    def forces_and_virials(self, k: Tensor) -> Tuple[Tensor, Tensor]:
        from ase_deeppot.potential import kernels

        (n, j, vectors), values, threads = self._arrays(), k.numpy(), len(self.centres)
        force, virial, parts = np.zeros((threads, n, 3)), np.zeros((threads, n, 3, 3)), self._parts(values)

        def add(share: int) -> None:
            kernels.forces_and_virials(self.neighbors[share], self.radial.basis[1:5], parts[share], self.centres[share],
                                       j, vectors, force[share], virial[share])

        shared_threads().run(add, threads)
        return torch.from_numpy(force.sum(0)), torch.from_numpy(virial.sum(0))

    def backward(self, force_bar: Tensor, virial_bar: Tensor, shape: torch.Size) -> Tensor:
        from ase_deeppot.potential import kernels

        _, j, vectors = self._arrays()
        k_bar = np.empty(shape, _numpy(self.radial.dtype))
        parts = self._parts(k_bar)

        def fill(share: int) -> None:
            kernels.forces_and_virials_backward(self.neighbors[share], self.radial.basis[1:5], self.centres[share], j,
                                                vectors, force_bar.numpy(), virial_bar.numpy(), parts[share])

        shared_threads().run(fill, len(self.centres))
        return torch.from_numpy(k_bar)

    def _parts(self, values: np.ndarray) -> List[np.ndarray]:
        """Of an array by centre, what each thread has to do with."""
        return np.split(values, np.cumsum([len(own) for own in self.centres])[:-1])

    def _arrays(self) -> Tuple[int, np.ndarray, np.ndarray]:
        return len(self.structures.types), self.structures.j.numpy(), self.structures.vectors.numpy()


def _compiled(structures: Structures) -> bool:
    return structures.vectors.device.type == "cpu" and compilable()


def _gather(radial: Radial, structures: Structures, centres: np.ndarray) -> Any:
    """Blocks of the neighbours of some atoms, which follow each other."""
    from ase_deeppot.potential import kernels

    types, i, j, vectors = (part.numpy() for part in structures)
    first = np.searchsorted(i, np.arange(len(types) + 1))
    pairs = int(first[centres[-1] + 1] - first[centres[0]]) if len(centres) else 0
    result = kernels.new_blocks(len(centres) * radial.n_types, pairs, _numpy(radial.dtype), radial.basis.l_max)
    kernels.gather(centres, first, types, j, vectors, radial.basis[1:5], np.full(radial.n_types, np.inf), result)
    return result


def _blocks(radial: Radial, neighbors: Neighbors) -> Any:
    types, i, types_j, vectors = neighbors
    return blocks(radial.basis, len(types), radial.n_types, i, types_j, vectors, radial.dtype)


def _moments(p: Tensor) -> Environment:
    return Environment(p, torch.empty(len(p), 0, dtype=torch.int32, device=p.device))


def _numpy(dtype: torch.dtype) -> np.dtype:
    return np.dtype(str(dtype).removeprefix("torch."))
