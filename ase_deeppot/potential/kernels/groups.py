"""What a group of atoms needs before the fitting net, and after it: one call each, as threads queue for Python then."""

from typing import NamedTuple

from ase_deeppot.potential.kernels.bispectrum import Third
from ase_deeppot.potential.kernels.bispectrum_products import third_products, third_products_backward
from ase_deeppot.potential.kernels.blocks import Blocks, gather
from ase_deeppot.potential.kernels.compilation import compiled
from ase_deeppot.potential.kernels.forces import forces_and_virials
from ase_deeppot.potential.kernels.higher_products import higher_products, higher_products_backward
from ase_deeppot.potential.kernels.layout import Array, Shape
from ase_deeppot.potential.kernels.moments import moments
from ase_deeppot.potential.kernels.products import products, products_backward


class Matrices(NamedTuple):
    """Those of ``folded.FoldedProducts``, and their transposes."""

    radial: Array  # [T L, R]
    angular: Array  # [T L, R]
    constant: Array  # [R]
    higher: Array  # [l_max - 1, T L, Q]
    radial_t: Array  # [R, T L]
    angular_t: Array  # [R, T L]
    higher_t: Array  # [l_max - 1, Q, T L]
    third_t: Array  # [l, columns, T L], of the orders that couple, what the bispectrum takes of the environments
    third: Third


class Columns(NamedTuple):
    """Which products there are, and where among the input of the fitting net."""

    runs: Array  # [3, axis], see ``folded.FoldedProducts``
    axis: int  # of the higher orders
    first: int  # column of orders 0 and 1
    higher: int  # column of the higher ones
    third: int  # column of the bispectrum


@compiled
def describe(atoms: Array, first: Array, types: Array, j: Array, vectors: Array, shape: Shape, closest: Array,
             blocks: Blocks, matrices: Matrices, columns: Columns, p: Array, y: Array, high: Array, third: Array,
             z: Array) -> None:
    """Neighbours, moments P [n, Y, T, L], folded environments y [n, 4, R] and high [n, Y - 4, Q], products in z.

    ``third`` [flat] gets what the bispectrum takes of the environments.
    """
    gather(atoms, first, types, j, vectors, shape, closest, blocks)
    moments(blocks, p)
    flat = p.reshape(p.shape[0], p.shape[1], p.shape[2] * p.shape[3])
    products(flat, matrices.radial_t, matrices.angular_t, matrices.constant, columns.runs, columns.first, y, z)
    higher_products(flat, matrices.higher_t, columns.axis, columns.higher, high, z)
    third_products(matrices.third, flat, matrices.third_t, third, z, columns.third)


@compiled
def add_forces(atoms: Array, j: Array, vectors: Array, shape: Shape, blocks: Blocks, matrices: Matrices,
               columns: Columns, y: Array, high: Array, third: Array, z_bar: Array, p: Array, forces: Array,
               virials: Array) -> None:
    """From dE/dz to forces and virials; p becomes dE/dP."""
    flat = p.reshape(p.shape[0], p.shape[1], p.shape[2] * p.shape[3])
    products_backward(y, z_bar, columns.first, matrices.radial, matrices.angular, columns.runs, flat)
    higher_products_backward(high, z_bar, columns.higher, matrices.higher, columns.axis, flat)
    third_products_backward(matrices.third, third, z_bar, columns.third, matrices.third_t, flat)
    forces_and_virials(blocks, shape, p, atoms, j, vectors, forces, virials)
