"""What a group of atoms needs before the fitting net, and after it: two calls, as threads queue for Python at each."""

from typing import NamedTuple

from ase_deeppot.potential.kernels.blocks import Array, Blocks, Shape, compiled, gather
from ase_deeppot.potential.kernels.forces import forces_and_virials
from ase_deeppot.potential.kernels.moments import moments
from ase_deeppot.potential.kernels.products import products, products_backward


class Matrices(NamedTuple):
    """Those of ``folded.FoldedSpecies``; the transposed ones have been filled up to R', a multiple of four."""

    radial: Array  # [T L, R]
    angular: Array  # [T L, R]
    constant: Array  # [R]
    radial_t: Array  # [R', T L]
    angular_t: Array  # [R', T L]


@compiled
def describe(atoms: Array, first: Array, types: Array, j: Array, vectors: Array, shape: Shape, closest: Array,
             blocks: Blocks, matrices: Matrices, axis: int, p: Array, y: Array, z: Array) -> None:
    """Neighbours, moments P [n, 4, T, L], folded environments y [n, 4, R] and their products z [n, K]."""
    gather(atoms, first, types, j, vectors, shape, closest, blocks)
    moments(blocks, p)
    flat = p.reshape(p.shape[0], 4, p.shape[2] * p.shape[3])
    products(flat, matrices.radial, matrices.angular, matrices.constant, axis, y, z)


@compiled
def add_forces(atoms: Array, j: Array, vectors: Array, s_max: float, blocks: Blocks, matrices: Matrices, axis: int,
               y: Array, z_bar: Array, p: Array, forces: Array, virials: Array) -> None:
    """From dE/dz [n, K] to forces and virials; p becomes dE/dP."""
    flat = p.reshape(p.shape[0], 4, p.shape[2] * p.shape[3])
    products_backward(y, z_bar, matrices.radial_t, matrices.angular_t, axis, flat)
    forces_and_virials(blocks, s_max, p, atoms, j, vectors, forces, virials)
