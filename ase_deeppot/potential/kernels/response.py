"""Energies of atoms of one species and K = dE/dP from their moments, and the derivative of both by the weights."""

from typing import NamedTuple

from ase_deeppot.potential.kernels.bispectrum_response import (
    add_bispectrum,
    add_bispectrum_along,
    add_bispectrum_bar,
    add_bispectrum_bar_along,
)
from ase_deeppot.potential.kernels.compilation import compiled
from ase_deeppot.potential.kernels.environment import (
    Mixing,
    add_descriptor,
    add_descriptor_bar,
    add_mixing_bars,
    environments,
    give,
    moments_bar,
    take,
)
from ase_deeppot.potential.kernels.fitting_net import Net
from ase_deeppot.potential.kernels.layout import Array
from ase_deeppot.potential.kernels.net_response import Kept, backward, forward


class Surroundings(NamedTuple):
    """What some atoms keep of their environments; quantities with a dot are those along the direction V = dL/dK."""

    p: Array  # rows of moments, flat
    p_dot: Array
    a: Array  # rows of environments, flat
    a_dot: Array
    g_a: Array  # dE/dA
    r_a: Array  # what flows back to A


@compiled
def respond(net: Net, mixing: Mixing, mean: Array, atoms: Array, p: Array, extra: Array, around: Surroundings,
            kept: Kept, energies: Array, k: Array) -> None:
    """Fill the energies [N], and K [N, Y, T L], of some atoms, with all that is kept."""
    n, stride = len(atoms), kept.stride_in
    clear(kept)
    take(mixing, atoms, p, around.p)
    environments(mixing, n, around.p, 1.0, around.a)
    for i in range(n):
        for m in range(len(mean)):
            kept.x[i * stride + m] = -mean[m]
        for m in range(extra.shape[1]):
            kept.x[i * stride + len(mean) + m] = extra[atoms[i], m]
    add_descriptor(mixing, n, around.a, around.a, kept.x, stride)
    add_bispectrum(mixing, n, around.a, kept.x, stride)
    forward(net, n, kept, around.r_a)
    for i in range(n):
        energies[atoms[i]] = around.r_a[i]
    around.g_a[:] = 0
    add_descriptor_bar(mixing, n, around.a, kept.g_x, stride, around.g_a)
    add_bispectrum_bar(mixing, n, around.a, kept.g_x, stride, around.g_a)
    moments_bar(mixing, n, around.g_a, around.p_dot)
    give(mixing, atoms, around.p_dot, k)


@compiled
def respond_backward(net: Net, mixing: Mixing, atoms: Array, e_bar: Array, k_bar: Array, around: Surroundings,
                     kept: Kept, bars: Array, output_bar: Array, constant_bar: Array) -> None:
    """From dL/dE [N] and V = dL/dK [N, Y, T L] to all that the derivatives by the matrices need, and the others."""
    n, stride = len(atoms), kept.stride_in
    take(mixing, atoms, k_bar, around.p_dot)
    environments(mixing, n, around.p_dot, 0.0, around.a_dot)
    kept.x_dot[:] = 0
    add_descriptor(mixing, n, around.a_dot, around.a, kept.x_dot, stride)
    add_descriptor(mixing, n, around.a, around.a_dot, kept.x_dot, stride)
    add_bispectrum_along(mixing, n, around.a, around.a_dot, kept.x_dot, stride)
    around.r_a[:] = 0
    add_descriptor_bar(mixing, n, around.a_dot, kept.g_x, stride, around.r_a)
    add_bispectrum_bar_along(mixing, n, around.a, around.a_dot, kept.g_x, stride, around.r_a)
    backward(net, n, kept, e_bar[atoms], bars, output_bar)
    add_descriptor_bar(mixing, n, around.a, kept.r_x, stride, around.r_a)
    add_bispectrum_bar(mixing, n, around.a, kept.r_x, stride, around.r_a)
    for i in range(n):
        for m in range(len(constant_bar)):
            constant_bar[m] += around.r_a[i * mixing.stride + m]


@compiled
def add_embedding_bars(mixing: Mixing, n: int, around: Surroundings, bars: Array) -> None:
    """What n atoms add to the derivatives by the matrices of the embedding, slots left out."""
    add_mixing_bars(mixing, n, around.p, around.r_a, bars)
    add_mixing_bars(mixing, n, around.p_dot, around.g_a, bars)


@compiled
def clear(kept: Kept) -> None:
    """Zeros in all that is summed over rows or read beyond them."""
    kept.x[:] = 0
    kept.g_x[:] = 0
    kept.r_x[:] = 0
    for of_layers in (kept.results, kept.results_dot, kept.g, kept.g_u, kept.r_u):
        of_layers[:] = 0
