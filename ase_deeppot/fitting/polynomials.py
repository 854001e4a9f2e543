"""Cubic polynomials in place of fitting nets, solved for by least squares: for few frames of small molecules.

Where frames are few, what they leave open each net that is trained by steps fills in its own way. A polynomial of
``monomials`` has one solution, that of least weights, and no steps. Descriptor and embedding stay as they were trained.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from ase_deeppot.errors import ConfigError
from ase_deeppot.fitting import ridge
from ase_deeppot.fitting.config import FittingConfig
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.equations import unknowns
from ase_deeppot.fitting.input_slopes import centres
from ase_deeppot.fitting.least_squares import with_atoms
from ase_deeppot.fitting.loss import Prefactors, prefactors
from ase_deeppot.fitting.monomials import Monomials, first_metric, metric_of, monomials, of_polynomial
from ase_deeppot.fitting.tails import Terms, summed
from ase_deeppot.fitting.validation import Validation, validate
from ase_deeppot.potential.archive import Model
from ase_deeppot.potential.card import ModelCard
from ase_deeppot.potential.deep_potential import DeepPotential
from ase_deeppot.potential.fitting_net import Output
from ase_deeppot.potential.networks import ResidualLayer
from ase_deeppot.potential.polynomial import Polynomial

ROUNDS = 2  # each with the metric that the one before has found; a third brings little
ATOMS_OF_METRIC = 4000  # of a species, that metrics are made of


class Solved(NamedTuple):
    """A model with polynomials, and its errors on the frames set aside."""

    model: Model
    found: Validation | None


@torch.no_grad()
def fit_polynomials(model: Model, train: Dataset, validation: Dataset | None, config: FittingConfig,
                    log: Callable[[str], None]) -> Solved:
    """The model with polynomials of ``training.monomials`` terms in place of the fitting nets.

    Parameters
    ----------
    model : Model
        Trained; stays as it is.
    train : Dataset
        Frames that the weights are found from, as many as they need.
    validation : Dataset, optional
        Frames that choose the ridge and the better of two rounds; without them a tenth of the others.
    config : FittingConfig
    log : callable
        Told the errors of each round.

    Returns
    -------
    Solved
    """
    potential = _in_double(model)
    inputs = _inputs(potential, train)
    _say_memory(len(inputs) * (config.training.monomials + 1), train, validation, log)
    metrics, best = [first_metric(x) for x in inputs], None
    for k in range(1, ROUNDS + 1):
        layers = [monomials(metric, x, config.training.monomials) for metric, x in zip(metrics, inputs, strict=True)]
        none = torch.zeros(unknowns(layers), dtype=torch.float64)
        weights = ridge.solve(potential, layers, train, validation, _weights(config), none)
        now = _with_polynomials(model, layers, weights)
        found = validate(now, validation, config.loss) if validation else None
        log(f"monomials, round {k} of {ROUNDS}" + (f": validation loss {found.loss:.3g}" if found else ""))
        if best is None or best.found is None or (found is not None and found.loss < best.found.loss):
            best = Solved(now, found)
        metrics = [metric_of(layer.gradient(x, w)) for layer, x, (w, _) in
                   zip(layers, inputs, _by_species(layers, weights), strict=True)]
    assert best is not None
    return best


@torch.no_grad()
def refit_polynomials(model: Model, train: Dataset, validation: Dataset | None, config: FittingConfig,
                      log: Callable[[str], None]) -> Solved:
    """The model with the weights of its polynomials brought to other frames, by as small changes as do.

    Takes the same as :func:`fit_polynomials`; descriptor, embedding and the monomials themselves stay. The ridge, on
    changes, is what holds frames in mind that the model was made from.
    """
    potential = _in_double(model)
    parts = [potential.fitting_net.parts(t) for t in range(potential.descriptor.n_types)]
    layers, weights = [], []
    for (hidden,), output in parts:
        assert isinstance(output, Polynomial)
        layers.append(of_polynomial(hidden.weight.detach(), hidden.bias.detach(), output.pairs, output.places))
        weights += [output.weight / layers[-1].scale, output.weight.new_zeros(1)]  # no bias but the model's own
    _say_memory(unknowns(layers), train, validation, log)
    start = torch.cat(weights)
    found = ridge.solve(potential, layers, train, validation, _weights(config), start)
    now = _with_weights(model, layers, found)
    return Solved(now, validate(now, validation, config.loss) if validation else None)


def check_polynomials(config: FittingConfig) -> None:
    """Refuse models that polynomials cannot be part of.

    Raises
    ------
    ConfigError
        If ``training.monomials`` are asked for with another descriptor, or with parameters.
    """
    if not config.training.monomials:
        return
    kind = getattr(config.model.descriptor, "kind", "hybrid")
    if kind != "smooth" or config.model.fitting_net.parameters:
        what = f"the descriptor {kind}" if kind != "smooth" else "frame or atom parameters"
        raise ConfigError(f"expected the descriptor smooth and no parameters with training.monomials, got {what}")


def _say_memory(n: int, train: Dataset, validation: Dataset | None, log: Callable[[str], None]) -> None:
    log(f"monomials: {n:,} unknowns, {ridge.memory(n, train, validation):.1f} GB of memory")


def _in_double(model: Model) -> DeepPotential:
    potential = DeepPotential(replace(model.card.config, precision="float64"))
    potential.load_state_dict(model.module.state_dict())
    return potential.eval()


def _inputs(potential: DeepPotential, train: Dataset) -> list[Tensor]:
    """What the nets see of a sample of the atoms of each species, [n, width] each."""
    found: list[list[Tensor]] = [[] for _ in range(potential.descriptor.n_types)]
    atoms = ATOMS_OF_METRIC * potential.descriptor.n_types
    for batch in ridge.batches(potential, train, with_atoms(train, atoms)):
        for t, of_species in enumerate(found):
            mine = batch.environment.features[batch.structures.types == t]
            of_species.append(centres(potential, t, mine).x)
    return [torch.cat(of_species) for of_species in found]


def _weights(config: FittingConfig) -> Prefactors:
    """With 1 the energy of a frame, and the mean of its virial's components, count like one component of a force.

    In the loss of training, made for steps, energies count for more, and forces of molecules come out worse for it.
    What does not count there does not count here.
    """
    counts = Prefactors(*(float(prefactor > 0.0) for prefactor in prefactors(config.loss, 0.0)))
    return counts._replace(energy=config.training.monomials_energy * counts.energy)


def _by_species(layers: list[Monomials], weights: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Weights [M] of the monomials of each species, and its bias []."""
    for part in weights.split([len(layer.scale) + 1 for layer in layers]):
        yield part[:-1], part[-1]


def _with_polynomials(model: Model, layers: list[Monomials], weights: Tensor) -> Model:
    """The model with these polynomials, in its own precision."""
    terms = [summed(layer, w) for layer, (w, _) in zip(layers, _by_species(layers, weights), strict=True)]
    net = replace(model.card.config.fitting_net, neuron=(max(len(one.shift) for one in terms),), activation="linear",
                  resnet_dt=False, shortcut=False,
                  polynomial=tuple((one.pairs.shape[1], len(one.places)) for one in terms))
    config = replace(model.card.config, fitting_net=net)
    module = DeepPotential(config)
    kept = {name: value for name, value in model.module.state_dict().items() if ".nets." not in name}
    module.load_state_dict(kept, strict=False)
    for t, (one, (_, bias)) in enumerate(zip(terms, _by_species(layers, weights), strict=True)):
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


def _with_weights(model: Model, layers: list[Monomials], weights: Tensor) -> Model:
    """The model, whose polynomials are of these monomials, with other weights."""
    module = copy.deepcopy(model.module)
    for t, (layer, (w, bias)) in enumerate(zip(layers, _by_species(layers, weights), strict=True)):
        _, output = module.fitting_net.parts(t)
        output.weight.copy_(w * layer.scale)
        module.fitting_net.energy_bias[t] += bias
    return Model(module.eval(), _recorded(model.card))


def _recorded(card: ModelCard) -> ModelCard:
    return replace(card, training=card.training | {"output_layers": "polynomials"})
