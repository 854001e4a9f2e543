"""From a trained Deep Potential to the form in which it runs."""

import copy
from typing import Any, Dict, NamedTuple, Optional, Union

import torch
from torch import Tensor, nn

from ase_deeppot.potential.chebyshev import polynomials
from ase_deeppot.potential.deep_potential import DeepPotential
from ase_deeppot.potential.folded import FoldedPotential, FoldedSpecies, ResponseLayer, ResponseNet
from ase_deeppot.potential.folded_local_frame import FoldedLocalFrames
from ase_deeppot.potential.local_frame import LocalFrameDescriptor, slots_of
from ase_deeppot.potential.networks import ResidualLayer
from ase_deeppot.potential.smooth import SmoothDescriptor

# What is left out of the series and their directions, relative to the largest: below what the precision shows.
TOLERANCES = {torch.float64: 1e-11, torch.float32: 3e-7}
MULTIPLE = 4  # of terms, and of directions: the compiled loops take four at a time
GRID = 2000  # points at which a series is compared with its net


Folded = Union[FoldedPotential, FoldedLocalFrames]


class Series(NamedTuple):
    """The embedding of all pairs of species as series, float64; the first index is the species of the centre."""

    radial: Tensor  # [T, T, L, M]
    angular: Tensor  # [T, T, L, M]
    constant: Tensor  # [T, M]


class Directions(NamedTuple):
    """Basis of the space that the environments of one species of centres span."""

    vectors: Tensor  # [M, R], orthonormal
    axis: Tensor  # [axis, axis']; the first `axis` of the M components are this times the first axis' coordinates


@torch.no_grad()
def fold(potential: DeepPotential, tolerance: Optional[float] = None) -> Folded:
    """The model as it runs, the same function to the precision of its nets.

    Of a smooth model, terms of the series, and directions of the environments, that weigh less than ``tolerance`` of
    all are left out; by default 1e-11 for nets in float64 and 3e-7 in float32.
    """
    descriptor = potential.descriptor
    if isinstance(descriptor, LocalFrameDescriptor):
        return _fold_local_frames(potential, descriptor)
    if tolerance is None:
        tolerance = TOLERANCES[descriptor.dtype]
    series = _truncated(_series(descriptor), tolerance)
    species = [_fold_species(potential, descriptor, series, c, tolerance) for c in range(descriptor.n_types)]
    basis = descriptor.basis()._replace(order=series.radial.shape[2])
    return FoldedPotential(basis, species, potential.fitting_net.normalisation()).eval()


def _fold_local_frames(potential: DeepPotential, descriptor: LocalFrameDescriptor) -> FoldedLocalFrames:
    davg, dstd = (part.cpu().clone() for part in (descriptor.davg, descriptor.dstd))
    nets = []
    for c in range(descriptor.n_types):
        hidden, output = potential.fitting_net.parts(c)
        layers = [_response_layer(layer, torch.zeros(layer.weight.shape[0], dtype=torch.float64)) for layer in hidden]
        bias = output.bias[0].to(torch.float64).cpu() + potential.fitting_net.energy_bias[c].cpu()
        nets.append(ResponseNet(layers, output.weight[0].detach().cpu().clone(), bias))
    return FoldedLocalFrames(slots_of(descriptor.geometry()), davg, dstd, nets).eval()


def _series(descriptor: SmoothDescriptor) -> Series:
    """From the nets in double precision, for rounding errors would hide that a series has converged."""
    exact = _in_double(descriptor)
    radial, angular, constant = exact.series()
    shape = (exact.n_types, exact.n_types, exact.order, -1)
    return Series(radial.view(shape), angular.view(shape), constant)


def _in_double(descriptor: SmoothDescriptor) -> SmoothDescriptor:
    exact = copy.deepcopy(descriptor).to("cpu", torch.float64)
    exact.dtype = torch.float64
    return exact


def _truncated(series: Series, tolerance: float) -> Series:
    """The series without their last terms, as many as weigh nothing, filled up to a multiple of ``MULTIPLE``."""
    weights = torch.stack([series.radial, series.angular]).square().sum(dim=(0, 1, 2, 4)).flip(0).cumsum(0).flip(0)
    order = max(2, int((weights > tolerance**2 * weights[0]).sum()))
    length = -(-order // MULTIPLE) * MULTIPLE

    def cut(part: Tensor) -> Tensor:
        return nn.functional.pad(part[:, :, :length], [0, 0, 0, max(0, length - part.shape[2])])

    return Series(cut(series.radial), cut(series.angular), series.constant)


def _fold_species(potential: DeepPotential, descriptor: SmoothDescriptor, series: Series, c: int,
                  tolerance: float) -> FoldedSpecies:
    dtype = descriptor.dtype
    slots = descriptor.sel.sum().cpu()
    radial, angular = series.radial[c].flatten(0, 1) / slots, series.angular[c].flatten(0, 1) / slots  # [T * L, M]
    constant = series.constant[c] / slots
    found = _directions(torch.cat([radial, angular, constant[None]]), descriptor.axis_neuron, tolerance)
    radial, angular, constant = (part @ found.vectors for part in (radial, angular, constant))
    return FoldedSpecies(radial.to(dtype).contiguous(), angular.to(dtype).contiguous(), constant.to(dtype),
                         found.axis.shape[1], _fold_net(potential, c, found))


def _directions(rows: Tensor, axis_neuron: int, tolerance: float) -> Directions:
    """Significant directions of the rows [n, M], turned so that the first few make up the axis components."""
    _, values, transposed = torch.linalg.svd(rows, full_matrices=False)
    rank = max(1, int((values > tolerance * values[0]).sum()))
    rank = min(-(-rank // MULTIPLE) * MULTIPLE, len(values))
    vectors = transposed[:rank].t()  # [M, R]
    turn, triangle = torch.linalg.qr(vectors[:axis_neuron].t(), mode="complete")  # [R, R], [R, axis]
    axis = triangle.t()[:, : min(axis_neuron, rank)]
    return Directions(vectors @ turn, axis)


def _fold_net(potential: DeepPotential, c: int, found: Directions) -> ResponseNet:
    """The fitting net of species c, with a first layer that takes the products ``y_a . y_r``.

    The mean of the descriptors goes into the biases: in front of each layer, ``shift`` is what is missing of its x.
    """
    hidden, output = potential.fitting_net.parts(c)
    scale = potential.fitting_net.scale.cpu()
    shift = nn.functional.pad(-potential.fitting_net.mean[c].cpu() / scale, [0, potential.fitting_net.n_parameters])
    layers = []
    for k, layer in enumerate(hidden):
        layers.append(_response_layer(layer, shift) if k else _fold_layer(layer, shift, scale, found))
        shift = torch.cat([shift] * layer.copies) if layer.copies else shift.new_zeros(layer.weight.shape[1])
    last = output.weight[0].detach().to(torch.float64).cpu().clone()
    bias = output.bias[0].to(torch.float64).cpu() + potential.fitting_net.energy_bias[c].cpu() + shift @ last
    if not hidden:
        last = _fold_inputs(last[:, None], scale, found)[:, 0]
    return ResponseNet(layers, last.to(potential.descriptor.dtype), bias)


def _fold_layer(layer: ResidualLayer, shift: Tensor, scale: Tensor, found: Directions) -> ResponseLayer:
    plain, dtype = _response_layer(layer, shift), layer.weight.dtype
    shortcut = None
    if layer.copies:
        unit = torch.eye(layer.weight.shape[0], dtype=torch.float64)
        shortcut = _fold_inputs(torch.cat([unit] * layer.copies, dim=1), scale, found).to(dtype)
    weight = _fold_inputs(layer.weight.detach().cpu(), scale, found).to(dtype)
    return ResponseLayer(weight, plain.bias, plain.idt, layer.activation, 0, shortcut)


def _response_layer(layer: ResidualLayer, shift: Tensor) -> ResponseLayer:
    weight = layer.weight.detach().cpu().clone()
    bias = (layer.bias.cpu() + shift @ weight.to(torch.float64)).to(weight.dtype)
    idt = None if layer.idt is None else layer.idt.detach().cpu().clone()
    return ResponseLayer(weight, bias, idt, layer.activation, layer.copies)


def _fold_inputs(weight: Tensor, scale: Tensor, found: Directions) -> Tensor:
    """Weights of the products, from those of the descriptor, and after them those of what stands beside it."""
    width = found.vectors.shape[0] * found.axis.shape[0]
    return torch.cat([_fold_matrix(weight[:width] / scale, found), weight[width:].to(torch.float64)])


def _fold_matrix(weight: Tensor, found: Directions) -> Tensor:
    """Weights [K, H] of the products ``y_a . y_r``, a <= r, from the weights [M * axis, H] of the descriptor."""
    m, (axis, rotated) = found.vectors.shape[0], found.axis.shape
    w = weight.detach().to(torch.float64).cpu().view(m, axis, -1)
    full = torch.einsum("mr,ba,mbh->arh", found.vectors, found.axis, w)  # [axis', R, H]
    square = full[:, :rotated]
    full[:, :rotated] = square + square.transpose(0, 1)
    full[torch.arange(rotated), torch.arange(rotated)] *= 0.5
    return full[torch.ones(full.shape[:2], dtype=torch.bool).triu()].contiguous()


@torch.no_grad()
def describe_series(potential: DeepPotential, folded: Folded) -> Dict[str, Any]:
    """What the model's card says of the series: terms trained with and kept, directions by species, reach, error.

    Nothing where there is no series. The error, that of ``series_error``, says how far the net is from what was trained
    here, which is the series.
    """
    if isinstance(potential.descriptor, LocalFrameDescriptor) or isinstance(folded, FoldedLocalFrames):
        return {}
    return {
        "order": potential.descriptor.order,
        "terms": folded.order,
        "directions": [len(species.constant) for species in folded.species],  # type: ignore[arg-type]
        "reach": 1.0 / float(potential.descriptor.s_max),  # A
        "error": series_error(potential.descriptor),
    }


@torch.no_grad()
def series_error(descriptor: SmoothDescriptor) -> float:
    """Largest difference between the embedding nets and their series, relative to their range."""
    exact = _in_double(descriptor)
    x = torch.linspace(-1.0, 1.0, GRID + 1, dtype=torch.float64)[1:]  # without s = 0
    at_grid = polynomials(x, exact.order)[0].t()  # [GRID, L]
    net = torch.stack(exact.curves(0.5 * float(exact.s_max) * (x + 1.0))[:2])  # [2, T, T, GRID, M]
    series = _series(exact)
    difference = torch.matmul(at_grid, torch.stack([series.radial, series.angular])) - net
    return float(difference.abs().max() / net.abs().max())
