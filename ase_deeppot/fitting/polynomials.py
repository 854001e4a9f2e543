"""Cubic polynomials in place of fitting nets, solved for by least squares: for few frames of small molecules.

Where frames are few, what they leave open each net that is trained by steps fills in its own way. A polynomial of
``monomials`` has one solution, that of least weights, and no steps. Descriptor and embedding stay as they were trained.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ase_deeppot.errors import ConfigError
from ase_deeppot.fitting.config import FittingConfig, LossConfig
from ase_deeppot.fitting.datasets import Batch, Dataset
from ase_deeppot.fitting.equations import energy_rows, force_and_virial_rows, unknowns
from ase_deeppot.fitting.input_slopes import centres
from ase_deeppot.fitting.least_squares import (
    Quadratic,
    energy_weights,
    force_weights,
    labelled,
    virial_weights,
    with_atoms,
)
from ase_deeppot.fitting.loss import Prefactors, prefactors
from ase_deeppot.fitting.monomials import Monomials, first_metric, metric_of, monomials
from ase_deeppot.fitting.validation import Validation, validate
from ase_deeppot.potential.archive import Model
from ase_deeppot.potential.deep_potential import DeepPotential
from ase_deeppot.potential.polynomial import Polynomial

ROUNDS = 2  # each with the metric that the one before has found; a third brings little
ATOMS_PER_UNKNOWN = 4  # whose forces are looked at: 12 equations for each, if there are so many
ATOMS_OF_METRIC = 4000  # of a species, that metrics are made of
BATCH_ATOMS = 512
BATCHES = 8  # whose equations there is room for, beside the matrix
EVERY = 10  # of the frames, those that choose the ridge where none were set aside
RIDGE = 1e-10  # of the mean curvature, to begin with
LEAST_RIDGE = 1e-14


class Equations(NamedTuple):
    """Errors that change by ``rows x`` with the unknowns x."""

    rows: Tensor  # [k, n]
    errors: Tensor  # [k], at x = 0; NaN where there is no label
    weights: Tensor  # [k], of their squares


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
    _say_memory(len(inputs) * (config.training.monomials + 1), log)
    metrics, best = [first_metric(x) for x in inputs], None
    for k in range(1, ROUNDS + 1):
        layers = [monomials(metric, x, config.training.monomials) for metric, x in zip(metrics, inputs, strict=True)]
        weights, biases = _solve(potential, layers, train, validation, _weights(config.loss))
        now = _with_polynomials(model, layers, weights, biases)
        found = validate(now, validation, config.loss) if validation else None
        log(f"monomials, round {k} of {ROUNDS}" + (f": validation loss {found.loss:.3g}" if found else ""))
        if best is None or best.found is None or (found is not None and found.loss < best.found.loss):
            best = Solved(now, found)
        metrics = [metric_of(layer.gradient(x, w)) for layer, x, w in zip(layers, inputs, weights, strict=True)]
    assert best is not None
    return best


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


def _say_memory(n: int, log: Callable[[str], None]) -> None:
    log(f"monomials: {n:,} unknowns, {8e-9 * n * (n + BATCHES * 3 * BATCH_ATOMS):.1f} GB of memory")


def _in_double(model: Model) -> DeepPotential:
    potential = DeepPotential(replace(model.card.config, precision="float64"))
    potential.load_state_dict(model.module.state_dict())
    return potential.eval()


def _inputs(potential: DeepPotential, train: Dataset) -> list[Tensor]:
    """What the nets see of a sample of the atoms of each species, [n, width] each."""
    found: list[list[Tensor]] = [[] for _ in range(potential.descriptor.n_types)]
    atoms = ATOMS_OF_METRIC * potential.descriptor.n_types
    for batch in _batches(potential, train, with_atoms(train, atoms)):
        for t, of_species in enumerate(found):
            mine = batch.environment.features[batch.structures.types == t]
            of_species.append(centres(potential, t, mine).x)
    return [torch.cat(of_species) for of_species in found]


def _weights(config: LossConfig) -> Prefactors:
    """By which the energy of a frame, and the mean of its virial's components, count like one component of a force.

    In the loss of training, made for steps, energies count for more, and forces come out worse for it. What does not
    count there does not count here.
    """
    return Prefactors(*(float(prefactor > 0.0) for prefactor in prefactors(config, 0.0)))


def _solve(potential: DeepPotential, layers: list[Monomials], train: Dataset, validation: Dataset | None,
           weights: Prefactors) -> tuple[list[Tensor], Tensor]:
    """Weights [M] of the monomials of each species, and biases [T], with the ridge that suits the frames set aside."""
    n, loss = unknowns(layers), Quadratic.zero(unknowns(layers))
    chosen, other, aside = _parts(train, validation, n)
    for equations in _equations(potential, layers, train, chosen, weights):
        loss.add(*equations)

    def at(ridge: float) -> tuple[float, Tensor]:
        """Loss on the frames set aside, and the weights."""
        x = _least(loss, ridge)
        if x is None:
            return np.inf, torch.zeros(n, dtype=torch.float64)
        return _loss(x, _equations(potential, layers, other, aside, weights)), x

    of_species = _best(at).split([len(layer.scale) + 1 for layer in layers])
    return [part[:-1] for part in of_species], torch.stack([part[-1] for part in of_species])


def _parts(train: Dataset, validation: Dataset | None, n: int) -> tuple[np.ndarray, Dataset, np.ndarray]:
    """Frames to find n weights from, and those, with their data set, that choose the ridge."""
    chosen = with_atoms(train, ATOMS_PER_UNKNOWN * n)
    if validation is not None:
        return chosen, validation, with_atoms(validation, n)
    aside = chosen[min(EVERY // 2, len(chosen) - 1) :: EVERY]
    return (np.setdiff1d(chosen, aside) if len(chosen) > 1 else chosen), train, aside


def _best(at: Callable[[float], tuple[float, Tensor]]) -> Tensor:
    """The weights with the ridge from which neither neighbour is better, from the first one on."""
    least, x = at(RIDGE)
    for step in (0.1, 10.0) if least < np.inf else (10.0,):  # rounding leaves nothing of a smaller one, either
        ridge = RIDGE
        while LEAST_RIDGE < (ridge := ridge * step) < 1.0:
            loss, other = at(ridge)
            if loss >= least < np.inf:
                break
            least, x = loss, other
        if ridge != RIDGE * step:  # the first step was a good one
            break
    return x


def _least(loss: Quadratic, ridge: float) -> Tensor | None:
    try:
        return loss.least(ridge)
    except torch.linalg.LinAlgError:  # less than rounding errors are
        return None


def _loss(x: Tensor, equations: Iterator[Equations]) -> float:
    total = 0.0
    for rows, errors, weights in equations:
        squares = weights * (errors + rows @ x).square()
        total += float(squares[~errors.isnan()].sum())
    return total


def _equations(potential: DeepPotential, layers: list[Monomials], dataset: Dataset, frames: np.ndarray,
               weights: Prefactors) -> Iterator[Equations]:
    """What the energies, the forces and the virials of some frames ask for, a batch at a time.

    Biases of the model count in the errors, its nets do not.
    """
    counts = labelled(dataset, frames)
    for batch in _batches(potential, dataset, frames):
        bias = torch.zeros_like(batch.energies).index_add(0, batch.frame,
                                                          potential.fitting_net.energy_bias[batch.structures.types])
        of_frame = batch.sizes / 3.0  # 3 N forces, weighted by their mean
        yield Equations(energy_rows(potential, layers, batch), (bias - batch.energies) / batch.sizes,
                        of_frame * energy_weights(batch, weights.energy, counts[0]))
        force, virial = force_and_virial_rows(potential, layers, batch)
        yield Equations(force, -batch.forces.flatten(), force_weights(batch, weights.force, counts[1]))
        yield Equations(virial, -batch.virials.flatten(),
                        of_frame.repeat_interleave(9) * virial_weights(batch, weights.virial, counts[2]))


def _batches(potential: DeepPotential, dataset: Dataset, frames: np.ndarray) -> Iterator[Batch]:
    sizes = dataset.counts[frames].sum(1)
    group = (np.cumsum(sizes) - 1) // max(BATCH_ATOMS, int(sizes.max()))
    for g in np.unique(group):
        yield dataset.batch(frames[group == g], potential.descriptor.geometry())


def _with_polynomials(model: Model, layers: list[Monomials], weights: list[Tensor], biases: Tensor) -> Model:
    """The model with these polynomials, in its own precision."""
    width = max(len(layer.shift) for layer in layers)
    net = replace(model.card.config.fitting_net, neuron=(width,), activation="linear", resnet_dt=False, shortcut=False,
                  polynomial=tuple((layer.pairs.shape[1], len(layer.scale)) for layer in layers))
    config = replace(model.card.config, fitting_net=net)
    module = DeepPotential(config)
    kept = {name: value for name, value in model.module.state_dict().items() if ".nets." not in name}
    module.load_state_dict(kept, strict=False)
    for t, (layer, w) in enumerate(zip(layers, weights, strict=True)):
        (hidden,), output = module.fitting_net.parts(t)
        missing = width - len(layer.shift)
        hidden.weight.copy_(torch.nn.functional.pad(layer.directions, [0, missing]))
        hidden.bias.copy_(torch.nn.functional.pad(layer.shift, [0, missing]))
        assert isinstance(output, Polynomial)
        output.pairs.copy_(layer.pairs)
        output.places.copy_(layer.places())
        output.weight.copy_(w * layer.scale)
    module.fitting_net.energy_bias += biases
    return Model(module.eval(), replace(model.card, config=config,
                                        training=model.card.training | {"output_layers": "polynomials"}))
