"""Cubic polynomials in place of fitting nets, solved for by least squares: for few frames of small molecules.

Where frames are few, what they leave open each net that is trained by steps fills in its own way. A polynomial of
``monomials`` has one solution, that of least weights, and no steps. Descriptor and embedding stay as they were trained.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from ase_deeppot.errors import ConfigError
from ase_deeppot.fitting import ridge
from ase_deeppot.fitting.config import FittingConfig
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.equations import unknowns
from ase_deeppot.fitting.holes import taught
from ase_deeppot.fitting.input_slopes import centres
from ase_deeppot.fitting.least_squares import with_atoms
from ase_deeppot.fitting.loss import Prefactors, prefactors
from ase_deeppot.fitting.monomials import Monomials, first_metric, metric_of, monomials, of_polynomial
from ase_deeppot.fitting.polynomial_models import by_species, with_polynomials, with_weights
from ase_deeppot.fitting.ridge import Regression, Solution
from ase_deeppot.fitting.validation import Validation, validate
from ase_deeppot.potential.archive import Model
from ase_deeppot.potential.deep_potential import DeepPotential
from ase_deeppot.potential.polynomial import Polynomial

ROUNDS = 2  # each with the metric that the one before has found; a third brings little
ATOMS_OF_METRIC = 4000  # of a species, that metrics are made of
RIDGE = -6  # power of ten, that the search begins with: of ridges that do as well the largest leaves the least weights


class Solved(NamedTuple):
    """A model with polynomials, and its errors on the frames set aside."""

    model: Model
    found: Validation | None


class _Task(NamedTuple):
    """What all rounds share."""

    nets: Model
    potential: DeepPotential  # of the nets, in double precision
    train: Dataset
    validation: Dataset | None
    config: FittingConfig

    def equations(self, layers: list[Monomials]) -> Regression:
        """For weights of these monomials, small ones."""
        none = torch.zeros(unknowns(layers), dtype=torch.float64)
        return ridge.regression(self.potential, layers, self.train, self.validation, _weights(self.config), none)

    def solved(self, layers: list[Monomials], solution: Solution) -> Solved:
        """The model with these weights."""
        return _validated(with_polynomials(self.nets, layers, solution.weights), self.validation, self.config)


class _Round(NamedTuple):
    """What came of some monomials."""

    layers: list[Monomials]  # of each species
    solution: Solution
    solved: Solved

    def no_worse_than(self, other: "_Round") -> bool:
        """On the validation frames; without any, a later round is."""
        mine, others = self.solved.found, other.solved.found
        return mine is None or others is None or mine.loss <= others.loss


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
        Told the errors of each round, and what dynamics finds.

    Returns
    -------
    Solved
    """
    task = _Task(model, _in_double(model), train, validation, config)
    inputs = _inputs(task.potential, train)
    _say_memory(len(inputs) * (config.training.monomials + 1), train, validation, log)
    metrics, best, last = [first_metric(x) for x in inputs], None, None
    for k in range(1, ROUNDS + 1):
        layers = [monomials(metric, x, config.training.monomials) for metric, x in zip(metrics, inputs, strict=True)]
        del last  # there is room for one matrix
        last = task.equations(layers)
        solution = last.solve(RIDGE)
        now = _Round(layers, solution, task.solved(layers, solution))
        log(f"monomials, round {k} of {ROUNDS}{_loss(now.solved)}")
        best = now if best is None or now.no_worse_than(best) else best
        metrics = [metric_of(layer.gradient(x, w)) for layer, x, (w, _) in
                   zip(layers, inputs, by_species(layers, solution.weights), strict=True)]
    assert best is not None
    assert last is not None
    if not config.training.monomials_runs:
        return best.solved
    if best is not now:
        del last
        last = task.equations(best.layers)
    return _taught(task, best, last, log)


def _taught(task: _Task, best: _Round, equations: Regression, log: Callable[[str], None]) -> Solved:
    """The polynomial of a round, taught by the nets where dynamics leads it astray."""
    def model(solution: Solution) -> Model:
        return with_polynomials(task.nets, best.layers, solution.weights)

    made = taught(equations, best.solution, model, task.nets, task.train, task.config.training.monomials_runs, log)
    result = _validated(made, task.validation, task.config)
    log(f"monomials, after dynamics{_loss(result)}")
    return result


def _validated(model: Model, validation: Dataset | None, config: FittingConfig) -> Solved:
    return Solved(model, validate(model, validation, config.loss) if validation else None)


def _loss(solved: Solved) -> str:
    return f": validation loss {solved.found.loss:.3g}" if solved.found else ""


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
    found = ridge.regression(potential, layers, train, validation, _weights(config), start).solve(RIDGE)
    return _validated(with_weights(model, layers, found.weights), validation, config)


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
