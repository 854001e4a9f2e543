"""Energy of the atoms of one species and K = dE/dP, and the derivative of both: training, with nothing done twice.

As in ``net_response``, with the moments P in place of the net's input: the derivative of a loss with respect to the
weights takes one pass along the direction V = dL/dK (quantities with a dot) and one backwards.
"""

from typing import Any, List, NamedTuple, Optional, Tuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ase_deeppot.potential import bispectrum, net_response
from ase_deeppot.potential.bispectrum import Coupling
from ase_deeppot.potential.embedding_series import Series
from ase_deeppot.potential.fitting_net import Output
from ase_deeppot.potential.networks import ResidualLayer

Matrices = Tuple[Tensor, ...]  # radial, angular, and those of the higher orders: [T * L, M_l] each


class Shape(NamedTuple):
    """What is fixed of one species' part of the model."""

    axes: Tuple[int, ...]  # columns of the smaller matrix, for orders 0 and 1 together and for each higher one
    slots: float
    net: net_response.Shape


def respond(p: Tensor, series: Series, mean: Tensor, layers: List[ResidualLayer], output: Output,
            axes: Tuple[int, ...], slots: float, couplings: List[Coupling],
            extra: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:
    """Energies of atoms of one species and their derivative, differentiable once more in all weights.

    Parameters
    ----------
    p : Tensor, [n, Y, T, L]
        Moments of their environments.
    series : Series
        Of the embedding, for the species.
    mean : Tensor, [width]
        What is taken from the descriptor before it enters the net.
    layers, output
        Of the fitting net.
    axes : tuple of int
        Columns of the smaller matrix, for orders 0 and 1 together and for each higher one.
    slots : float
        What ``G^T R`` is divided by: sum(sel), times the root of what the descriptor is to be divided by.
    couplings : list of Coupling
        Of the bispectrum, which follows the products in the descriptor; none if there is none.
    extra : Tensor, [n, k], optional
        Inputs of the net beside the descriptor, after it.

    Returns
    -------
    energies : Tensor, [n]
        eV, without the bias of the species.
    k : Tensor, [n, Y, T, L]
        dE/dP.
    """
    net, weights = net_response.taken_apart(layers, output)
    matrices = series.matrices()
    result: Tuple[Tensor, Tensor] = _Response.apply(p, extra, Shape(axes, slots, net), couplings,
                                                    len(matrices), mean, series.constant, *matrices, *weights)
    return result


class _Response(torch.autograd.Function):

    @staticmethod
    def forward(ctx: Any, p: Tensor, extra: Optional[Tensor], shape: Shape, couplings: List[Coupling], n_matrices: int,
                mean: Tensor, constant: Tensor, *rest: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
        matrices, weights = cast(Matrices, rest[:n_matrices]), rest[n_matrices:]
        rows, n = p.flatten(2), len(p)
        a = _environment(rows, matrices, shape.slots)
        a[0][:, 0] += constant / shape.slots
        width = len(mean)
        x = p.new_empty(2 * n, width + (0 if extra is None else extra.shape[1]))
        for part, columns, axis in zip(a, _columns(a, x[:n], shape.axes), shape.axes, strict=True):
            torch.bmm(part.transpose(1, 2), part[:, :, :axis], out=columns)
        third = for_bispectrum(a, couplings)
        if couplings:
            _of_bispectrum(x[:n], a, shape.axes, width).copy_(bispectrum.bispectrum(couplings, third))
        x[:n, :width] -= mean
        if extra is not None:
            x[:n, width:] = extra
        energies, g, net = net_response.forward(shape.net, weights, x)
        g_d = _columns(a, g, shape.axes)
        g_a = [_product_backward(part, bar) for part, bar in zip(a, g_d, strict=True)]
        g_b = _of_bispectrum(g, a, shape.axes, width)
        if couplings:
            _add_from_third(g_a, bispectrum.backward(couplings, third, g_b))
        ctx.kept = (rows, shape, matrices, net, a, g_d, g_a, couplings, third, g_b)
        return energies, _environment_backward(g_a, matrices, shape.slots).view_as(p)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tuple[Optional[Tensor], ...]:
        rows, shape, matrices, net, a, g_d, g_a, couplings, third, g_b = ctx.kept
        e_bar, v = grads[0], grads[1].flatten(2)
        n = len(rows)
        a_dot = _environment(v, matrices, shape.slots)
        net.input_dot.zero_()  # what stands beside the descriptor does not depend on P
        for part, dot, columns, axis in zip(a, a_dot, _columns(a, net.input_dot, shape.axes), shape.axes, strict=True):
            torch.bmm(dot.transpose(1, 2), part[:, :, :axis], out=columns)
            columns += torch.bmm(part.transpose(1, 2), dot[:, :, :axis])
        third_dot, width = for_bispectrum(a_dot, couplings), _width(a, shape.axes) + g_b.shape[1]
        if couplings:
            x_dot = _of_bispectrum(net.input_dot, a, shape.axes, width)
            x_dot.copy_(bispectrum.along(couplings, third, third_dot))
        r, weight_bars = net_response.backward(net, e_bar)
        r_a = [_product_backward(part, bar) + _product_backward(dot, g)
               for part, dot, bar, g in zip(a, a_dot, _columns(a, r, shape.axes), g_d, strict=True)]
        if couplings:
            _add_from_third(r_a, bispectrum.backward(couplings, third, _of_bispectrum(r, a, shape.axes, width)))
            _add_from_third(r_a, bispectrum.backward_along(couplings, third, third_dot, g_b))
        both = torch.cat([rows, v])
        both_bars = [torch.cat(pair).div_(shape.slots) for pair in zip(r_a, g_a, strict=True)]
        constant_bar = both_bars[0][:n, 0].sum(0)
        return None, None, None, None, None, None, constant_bar, *_matrices_backward(both, both_bars), *weight_bars


def environment(rows: Tensor, series: Series, slots: float) -> List[Tensor]:
    """``G^T R / slots`` with the constant, order by order, from the moments [n, Y, T L]; for autograd."""
    low, *higher = _environment(rows, series.matrices(), slots)
    scalar = low[:, :1] + series.constant / slots
    return [torch.cat([scalar, low[:, 1:]], dim=1), *higher]


def products(a: List[Tensor], axes: Tuple[int, ...], couplings: List[Coupling]) -> Tensor:
    """The descriptor [n, width] of the environments; for autograd."""
    found = [torch.bmm(part.transpose(1, 2), part[:, :, :axis]).flatten(1) for part, axis in zip(a, axes, strict=True)]
    if couplings:
        found.append(bispectrum.bispectrum(couplings, for_bispectrum(a, couplings)))
    return torch.cat(found, dim=1)


def backward(a: List[Tensor], g: Tensor, axes: Tuple[int, ...], couplings: List[Coupling], series: Series,
             slots: float) -> Tensor:
    """dE/dP [n, Y, T L] from dE/dD [n, width]; for autograd."""
    bars = [_product_backward(part, bar) for part, bar in zip(a, _columns(a, g, axes), strict=True)]
    if couplings:
        g_b = _of_bispectrum(g, a, axes, g.shape[1])
        _add_from_third(bars, bispectrum.backward(couplings, for_bispectrum(a, couplings), g_b))
    return _environment_backward(bars, series.matrices(), slots)


def for_bispectrum(a: List[Tensor], couplings: List[Coupling]) -> List[Tensor]:
    """Of environments as ``_environment`` has them, the columns of orders 1 and up that the bispectrum takes."""
    if not couplings:
        return []
    columns = couplings[0].columns
    return [a[0][:, 1:, :columns], *(part[:, :, :columns] for part in a[1 : bispectrum.COUPLED])]


def _add_from_third(bars: List[Tensor], third: List[Tensor]) -> None:
    """Add derivatives by what ``for_bispectrum`` takes to those by the environments."""
    columns = third[0].shape[2]
    bars[0][:, 1:, :columns] += third[0]
    for bar, of_order in zip(bars[1 : len(third)], third[1:], strict=True):
        bar[:, :, :columns] += of_order


def _width(a: List[Tensor], axes: Tuple[int, ...]) -> int:
    """Number of products."""
    return sum(part.shape[2] * axis for part, axis in zip(a, axes, strict=True))


def _of_bispectrum(d: Tensor, a: List[Tensor], axes: Tuple[int, ...], width: int) -> Tensor:
    """The part of the net's input d that follows the products, up to the descriptor's width."""
    return d[:, _width(a, axes) : width]


def _environment(rows: Tensor, matrices: Matrices, slots: float) -> List[Tensor]:
    """``G^T R / slots``, transposed: [n, 4, M] of orders 0 and 1, [n, 2 l + 1, M_l] of each higher one."""
    n, (radial, angular, *higher) = len(rows), matrices
    low = rows.new_empty(n, 4, radial.shape[1])
    low[:, 0] = torch.mm(rows[:, 0], radial)
    low[:, 1:] = torch.mm(rows[:, 1:4].flatten(0, 1), angular).view(n, 3, low.shape[2])
    parts = [low]
    for l, matrix in enumerate(higher, 2):  # noqa: E741
        row = torch.mm(rows[:, l * l : (l + 1) ** 2].flatten(0, 1), matrix)
        parts.append(row.view(n, 2 * l + 1, row.shape[1]))
    return [part.div_(slots) for part in parts]


def _environment_backward(bars: List[Tensor], matrices: Matrices, slots: float) -> Tensor:
    """From the derivatives with respect to ``_environment`` to that with respect to its rows, [n, Y, T L]."""
    n, (radial, angular, *higher) = len(bars[0]), matrices
    rows = [torch.mm(bars[0][:, 0], radial.t())[:, None], torch.mm(bars[0][:, 1:].flatten(0, 1), angular.t())]
    rows += [torch.mm(bar.flatten(0, 1), matrix.t()) for bar, matrix in zip(bars[1:], higher, strict=True)]
    return torch.cat([part.view(n, -1, len(radial)) for part in rows], dim=1).div_(slots)


def _matrices_backward(rows: Tensor, bars: List[Tensor]) -> List[Tensor]:
    """From the same to the derivatives with respect to the matrices."""
    result = [torch.mm(rows[:, 0].t(), bars[0][:, 0]),
              torch.mm(rows[:, 1:4].flatten(0, 1).t(), bars[0][:, 1:].flatten(0, 1))]
    for l, bar in enumerate(bars[1:], 2):  # noqa: E741
        result.append(torch.mm(rows[:, l * l : (l + 1) ** 2].flatten(0, 1).t(), bar.flatten(0, 1)))
    return result


def _columns(a: List[Tensor], d: Tensor, axes: Tuple[int, ...]) -> List[Tensor]:
    """The parts of the net's input d [n, ...] that belong to the parts of the environment, [n, M_l, axis] each."""
    sizes = [part.shape[2] * axis for part, axis in zip(a, axes, strict=True)]
    parts = d[:, : sum(sizes)].split(sizes, dim=1)
    return [part.unflatten(1, (-1, axis)) for part, axis in zip(parts, axes, strict=True)]


def _product_backward(a: Tensor, d_bar: Tensor) -> Tensor:
    """From the derivative with respect to ``A A_<^T`` to that with respect to A, both as [n, 2 l + 1, M]."""
    axis = d_bar.shape[2]
    a_bar = torch.bmm(a[:, :, :axis], d_bar.transpose(1, 2))
    a_bar[:, :, :axis] += torch.bmm(a, d_bar)
    return a_bar
