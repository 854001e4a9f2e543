"""Models whose fitting nets are polynomials of given monomials and weights."""

import copy
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from ase_deeppot.fitting.monomials import Monomials
from ase_deeppot.fitting.tails import Terms, summed
from ase_deeppot.potential.archive import Model
from ase_deeppot.potential.card import ModelCard
from ase_deeppot.potential.deep_potential import DeepPotential
from ase_deeppot.potential.fitting_net import Output
from ase_deeppot.potential.networks import ResidualLayer
from ase_deeppot.potential.polynomial import Polynomial


def by_species(layers: list[Monomials], weights: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Weights [M] of the monomials of each species, and its bias []."""
    for part in weights.split([len(layer.scale) + 1 for layer in layers]):
        yield part[:-1], part[-1]


@torch.no_grad()
def with_polynomials(model: Model, layers: list[Monomials], weights: Tensor) -> Model:
    """The model with these polynomials, in its own precision."""
    terms = [summed(layer, w) for layer, (w, _) in zip(layers, by_species(layers, weights), strict=True)]
    net = replace(model.card.config.fitting_net, neuron=(max(len(one.shift) for one in terms),), activation="linear",
                  resnet_dt=False, shortcut=False,
                  polynomial=tuple((one.pairs.shape[1], len(one.places)) for one in terms))
    config = replace(model.card.config, fitting_net=net)
    module = DeepPotential(config)
    kept = {name: value for name, value in model.module.state_dict().items() if ".nets." not in name}
    module.load_state_dict(kept, strict=False)
    for t, (one, (_, bias)) in enumerate(zip(terms, by_species(layers, weights), strict=True)):
        _fill(*module.fitting_net.parts(t), one)
        module.fitting_net.energy_bias[t] += bias
    return Model(module.eval(), _recorded(replace(model.card, config=config)))


def _fill(hidden: list[ResidualLayer], output: Output, terms: Terms) -> None:
    """Put a polynomial, and the layer before it, in their places; that of another species may have more directions."""
    assert isinstance(output, Polynomial)
    (layer,) = hidden
    missing = output.inputs - len(terms.shift)
    layer.weight.copy_(torch.nn.functional.pad(terms.directions, [0, missing]))
    layer.bias.copy_(torch.nn.functional.pad(terms.shift, [0, missing]))
    output.pairs.copy_(terms.pairs)
    output.places.copy_(terms.places)
    output.weight.copy_(terms.weight)


@torch.no_grad()
def with_weights(model: Model, layers: list[Monomials], weights: Tensor) -> Model:
    """The model, whose polynomials are of these monomials, with other weights."""
    module = copy.deepcopy(model.module)
    for t, (layer, (w, bias)) in enumerate(zip(layers, by_species(layers, weights), strict=True)):
        _, output = module.fitting_net.parts(t)
        output.weight.copy_(w * layer.scale)
        module.fitting_net.energy_bias[t] += bias
    return Model(module.eval(), _recorded(model.card))


def _recorded(card: ModelCard) -> ModelCard:
    return replace(card, training=card.training | {"output_layers": "polynomials"})
