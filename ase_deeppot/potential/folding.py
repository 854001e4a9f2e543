"""From a trained Deep Potential to the form in which it runs."""

import copy
from typing import Any, Dict, List, Optional, Tuple, Union

import torch
from torch import Tensor, nn

from ase_deeppot.potential.bispectrum import COUPLED
from ase_deeppot.potential.chebyshev import nodes, polynomials, transform
from ase_deeppot.potential.deep_potential import DeepPotential
from ase_deeppot.potential.directions import (
    Directions,
    alike,
    directions,
    fold_matrix,
    without_small_products,
)
from ase_deeppot.potential.embedding_series import Series
from ase_deeppot.potential.folded import (
    FoldedPotential,
    FoldedProducts,
    FoldedSpecies,
    ResponseLayer,
    ResponseNet,
)
from ase_deeppot.potential.folded_bispectrum import FoldedBispectrum
from ase_deeppot.potential.folded_local_frame import FoldedLocalFrames
from ase_deeppot.potential.folded_pairwise import PairwisePotential, SeriesBlocks
from ase_deeppot.potential.hybrid import smooth_parts
from ase_deeppot.potential.local_frame import LocalFrameDescriptor, slots_of
from ase_deeppot.potential.moments import Basis
from ase_deeppot.potential.networks import ResidualLayer
from ase_deeppot.potential.pair_nets import PairNets
from ase_deeppot.potential.pairwise import PairwiseDescriptor
from ase_deeppot.potential.polynomial import Polynomial
from ase_deeppot.potential.short_series import ShortSeries, shortest
from ase_deeppot.potential.smooth import SmoothDescriptor

# What is left out of the series and their directions, relative to the largest: below what the precision shows.
TOLERANCES = {torch.float64: 1e-11, torch.float32: 3e-7}
GRID = 2000  # points at which a series is compared with its net
LONGEST = 256  # terms of a series; nets that these do not follow are evaluated for every pair


Found = List[Tuple[SmoothDescriptor, List[Directions]]]  # parts of the descriptor, with the directions of each order
Folded = Union[FoldedPotential, FoldedLocalFrames]


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
    parts = smooth_parts(descriptor)
    short = [_short_series(part, tolerance) for part in parts]
    series = [of_part.series for of_part in short]
    species = [_fold_species(potential, parts, series, c, tolerance) for c in range(descriptor.n_types)]
    bases = [part.basis()._replace(order=of_part.order, bend=of_part.bend)
             for part, of_part in zip(parts, short, strict=True)]
    made = bases, species, descriptor.dtype, potential.fitting_net.normalisation()
    if not any(isinstance(part, PairwiseDescriptor) for part in parts):
        return FoldedPotential(*made).eval()
    return PairwisePotential([_blocks(*both) for both in zip(parts, bases, strict=True)], *made).eval()


def _blocks(descriptor: SmoothDescriptor, basis: Basis) -> Union[PairNets, SeriesBlocks]:
    if isinstance(descriptor, PairwiseDescriptor):
        return descriptor.pair_nets(descriptor.dtype).cpu()
    return SeriesBlocks(basis, descriptor.n_types, descriptor.dtype)


def _fold_local_frames(potential: DeepPotential, descriptor: LocalFrameDescriptor) -> FoldedLocalFrames:
    davg, dstd = (part.cpu().clone() for part in (descriptor.davg, descriptor.dstd))
    nets = []
    for c in range(descriptor.n_types):
        hidden, output = potential.fitting_net.parts(c)[0], potential.fitting_net.output(c)
        layers = [_response_layer(layer, torch.zeros(layer.weight.shape[0], dtype=torch.float64)) for layer in hidden]
        bias = output.bias[0].to(torch.float64).cpu() + potential.fitting_net.energy_bias[c].cpu()
        nets.append(ResponseNet(layers, output.weight[0].detach().cpu().clone(), bias))
    return FoldedLocalFrames(slots_of(descriptor.geometry()), davg, dstd, nets).eval()


def _short_series(descriptor: SmoothDescriptor, tolerance: float) -> ShortSeries:
    """From the nets in double precision, for rounding errors would hide that a series has converged."""
    whole = _in_double(descriptor).series()
    if isinstance(descriptor, PairwiseDescriptor):
        return ShortSeries(whole, whole.radial.shape[1] // descriptor.n_types, 0.0)
    return shortest(whole, descriptor.n_types, tolerance)


def _in_double(descriptor: SmoothDescriptor) -> SmoothDescriptor:
    exact = copy.deepcopy(descriptor).to("cpu", torch.float64)
    exact.dtype = torch.float64
    return exact


def _fold_species(potential: DeepPotential, parts: List[SmoothDescriptor], series: List[Series], c: int,
                  tolerance: float) -> FoldedSpecies:
    both = [(part, of_part.of(c)) for part, of_part in zip(parts, series, strict=True)]
    every = [_directions(part, of_part, tolerance) for part, of_part in both]
    weight = _first_weights(potential, c)
    start = 0
    for part, found in zip(parts, every, strict=True):
        low = found[0]
        rows = weight[start : start + len(low.vectors) * len(low.axis)]
        found[0] = without_small_products(low, rows, tolerance)
        start += part.width
    products = [_fold_products(*pair, found) for pair, found in zip(both, every, strict=True)]
    return FoldedSpecies(products, _fold_net(potential, c, list(zip(parts, every, strict=True))))


def _first_weights(potential: DeepPotential, c: int) -> Tensor:
    """All that the net of species c first multiplies its input with, [n_in, n]."""
    hidden, output = potential.fitting_net.parts(c)
    if not hidden:
        return output.weight.detach().cpu().t()
    weight = hidden[0].weight.detach().cpu()
    return torch.cat([weight, torch.eye(len(weight), dtype=weight.dtype)], dim=1) if hidden[0].copies else weight


def _directions(descriptor: SmoothDescriptor, series: Series, tolerance: float) -> List[Directions]:
    """Of each angular order, orders 0 and 1 together."""
    rows = [torch.cat([series.radial, series.angular, series.constant[None]]), *series.higher]
    low, *higher = (directions(part, axis, tolerance) for part, axis in zip(rows, descriptor.axes, strict=True))
    return [low, *alike(higher)]


def _fold_products(descriptor: SmoothDescriptor, series: Series, found: List[Directions]) -> FoldedProducts:
    """The products of one part, for the centres of one species."""
    dtype, slots, (low, *others) = descriptor.dtype, descriptor.sel.sum().cpu(), found
    radial, angular, constant = (part @ low.making / slots for part in series[:3])
    orders = [part @ order.making / slots for part, order in zip(series.higher, others, strict=True)]
    stacked = torch.stack(orders) if orders else radial.new_zeros(0, len(radial), 0)
    third = _fold_bispectrum(descriptor, found)
    return FoldedProducts(radial.to(dtype).contiguous(), angular.to(dtype).contiguous(), constant.to(dtype),
                          stacked.to(dtype).contiguous(), low.ends, low.large, found[-1].axis.shape[1] if orders else 0,
                          third)


def _fold_bispectrum(descriptor: SmoothDescriptor, found: List[Directions]) -> FoldedBispectrum:
    """The first columns of the environments, from the folded ones."""
    every, dtype = copy.deepcopy(descriptor.coupled()), descriptor.dtype
    low, *others = (order.axis[: descriptor.bispectrum_neuron].t() for order in found[:COUPLED])
    stacked = torch.stack(others) if others else low.new_zeros(0, 0, 0)
    return FoldedBispectrum([one.cpu() for one in every], low.to(dtype).contiguous(), stacked.to(dtype).contiguous())


def _fold_net(potential: DeepPotential, c: int, found: Found) -> ResponseNet:
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
    own, dtype = potential.fitting_net.energy_bias[c].cpu(), potential.descriptor.dtype
    if isinstance(output, Polynomial):
        return ResponseNet(layers, shift.to(dtype), own, copy.deepcopy(output).cpu())
    last = output.weight[0].detach().to(torch.float64).cpu().clone()
    bias = output.bias[0].to(torch.float64).cpu() + own + shift @ last
    if not hidden:
        last = _fold_inputs(last[:, None], scale, found)[:, 0]
    return ResponseNet(layers, last.to(dtype), bias)


def _fold_layer(layer: ResidualLayer, shift: Tensor, scale: Tensor, found: Found) -> ResponseLayer:
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


def _fold_inputs(weight: Tensor, scale: Tensor, found: Found) -> Tensor:
    """Weights of the products, from those of the descriptor, and after them those of what stands beside it."""
    folded, start = [], 0
    for part, orders in found:
        end = start + part.width
        for order in orders:
            stop = start + order.vectors.shape[0] * order.axis.shape[0]
            folded.append(fold_matrix(weight[start:stop] / scale, order))
            start = stop
        if len(part.couplings):
            folded.append(weight[start:end].to(torch.float64) / (scale * part.root.cpu()))
        start = end
    return torch.cat([*folded, weight[start:].to(torch.float64)])


@torch.no_grad()
def describe_series(potential: DeepPotential, folded: Folded) -> Dict[str, Any]:
    """What the model's card says of the series: terms trained with and kept, directions by species, reach, error.

    Nothing where there is no series; of a hybrid descriptor, this of each of its ``parts``, and the largest error. The
    error, that of ``series_error``, says how far the net is from what was trained here, which is the series.
    """
    descriptor = potential.descriptor
    if isinstance(descriptor, LocalFrameDescriptor) or isinstance(folded, FoldedLocalFrames):
        return {}
    parts = [_describe_part(part, folded, k) for k, part in enumerate(smooth_parts(descriptor))]
    if isinstance(descriptor, SmoothDescriptor):
        return parts[0]
    return {"parts": parts, "error": max(part["error"] for part in parts)}


def _describe_part(descriptor: SmoothDescriptor, folded: FoldedPotential, k: int) -> Dict[str, Any]:
    if isinstance(descriptor, PairwiseDescriptor):
        return {"order": 0, "activation": descriptor.embedding.layers[0].activation, "reach": descriptor.reach,
                "error": 0.0, "longest": LONGEST, "missed": series_error(descriptor, LONGEST)}
    return {
        "order": descriptor.order,
        "terms": folded.bases[k][0],
        "directions": [len(species.parts[k].constant) for species in folded.species],  # type: ignore[index,union-attr]
        "reach": descriptor.reach,  # A
        "error": series_error(descriptor),
    }


@torch.no_grad()
def series_error(descriptor: SmoothDescriptor, order: Optional[int] = None) -> float:
    """Largest difference between the embedding nets and their series, or one of that order, relative to their range.

    It is 0 for nets that are evaluated for every pair, if no order is given.
    """
    if order is None and isinstance(descriptor, PairwiseDescriptor):
        return 0.0
    exact = _in_double(descriptor)
    if order is not None:
        exact.order, exact.nodes, exact.transform = order, nodes(order), transform(order)
    x = torch.linspace(-1.0, 1.0, GRID + 1, dtype=torch.float64)[1:]  # without s = 0
    at_grid = polynomials(x, exact.order)[0].t()  # [GRID, L]
    curves = exact.curves(0.5 * float(exact.s_max) * (x + 1.0))
    parts = [part.unflatten(1, (exact.n_types, -1)) for part in SmoothDescriptor.series(exact).matrices()]
    nets = [curves.radial, curves.angular, *curves.higher]
    errors = [float((torch.matmul(at_grid, part) - net).abs().max()) for part, net in zip(parts, nets, strict=True)]
    return max(errors) / max(float(net.abs().max()) for net in nets)
