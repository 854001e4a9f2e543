"""Models and structures for tests, made from a seed."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import oracles
import pytest
import torch
from ase import Atoms

from ase_deeppot.compiler import compilable
from ase_deeppot.neighbors import Pairs, neighbor_pairs
from ase_deeppot.potential.archive import Model
from ase_deeppot.potential.card import Domain, ModelCard
from ase_deeppot.potential.config import (
    FittingNetConfig,
    HybridConfig,
    HybridPart,
    LocalFrameConfig,
    ModelConfig,
    SmoothConfig,
)
from ase_deeppot.potential.deep_potential import DeepPotential
from ase_deeppot.potential.derivatives import forces, virials
from ase_deeppot.potential.engine import engine
from ase_deeppot.potential.folding import describe_series, fold
from ase_deeppot.potential.hybrid import smooth_parts
from ase_deeppot.potential.prediction import Prediction
from ase_deeppot.species import bonds_in

SKEWED = np.array([[5.1, 0.0, 0.0], [1.9, 4.7, 0.0], [-1.3, 1.1, 5.3]])  # A

CLOSEST = 0.8  # A, up to which the series of the embedding nets are made
ORDER = 160  # of the series: exact to rounding for the wild nets of an untrained model

USUAL = {"rcut_smth": 1.0, "neuron": (4, 8), "axis_neuron": 3, "order": ORDER, "higher_neuron": 5,
         "higher_axis_neuron": 2}  # of a smooth descriptor

FORCE_SCALE = 10.0  # brings the forces of the untrained nets to about 1 eV/A


def random_model(type_map=("H", "O"), *, seed=0, rcut=4.0, precision="float64", sel=None, smallest_distance=None,
                 kind="smooth", l_max=3, fitting_neuron=(10, 10), fitting_activation="tanh", fitting_resnet_dt=True,
                 fitting_shortcut=True, frame_parameters=0, atom_parameters=0, polynomial=(),
                 parts=None, **descriptor) -> Model:
    """An untrained eager model whose statistics, biases and weights are all different from their defaults."""
    smooth = kind != "local_frame"
    if kind == "hybrid":
        shape = HybridConfig(parts=tuple(HybridPart(**(USUAL | {"l_max": l_max} | part)) for part in parts))
    elif smooth:
        shape = SmoothConfig(**(USUAL | {"kind": kind, "l_max": l_max} | descriptor))
    else:
        slots = {name: dict.fromkeys(type_map, n) for name, n in (("sel_a", 12), ("sel_r", 20))}
        shape = LocalFrameConfig(**(slots | descriptor))
    every = [random_terms(fitting_neuron[-1], pairs, np.random.default_rng(seed)) for pairs in polynomial]
    config = ModelConfig(tuple(type_map), rcut, precision, shape, FittingNetConfig(
        tuple(fitting_neuron), fitting_activation, fitting_resnet_dt, fitting_shortcut, frame_parameters,
        atom_parameters, polynomial=tuple((terms[0].shape[1], len(terms[1])) for terms in every)),
        bonds_in(type_map))
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = DeepPotential(config).eval()
    n_types = len(type_map)
    for part in smooth_parts(module.descriptor) if smooth else [module.descriptor]:
        statistics = _smooth_statistics(n_types, sel, rng) if smooth else _slot_statistics(module, rng)
        for name, value in statistics.items():
            getattr(part, name).copy_(torch.from_numpy(np.asarray(value, dtype=float)))
    with torch.no_grad():
        for net in module.fitting_net.nets:
            if polynomial:
                fill_polynomial(net[-1], every.pop(0), rng)
            net[-1].weight.mul_(FORCE_SCALE)
    module.fitting_net.energy_bias.copy_(torch.from_numpy(rng.uniform(-5.0, -1.0, n_types)))
    if smooth:
        module.fitting_net.mean.copy_(torch.from_numpy(rng.uniform(-0.1, 0.1, module.fitting_net.mean.shape)))
        module.fitting_net.scale.fill_(1.3)
        for part in smooth_parts(module.descriptor):
            if len(part.couplings):
                part.root.fill_(1.3**0.5)
    if config.fitting_net.parameters:
        module.fitting_net.parameter_mean.copy_(torch.from_numpy(rng.uniform(-1, 1, config.fitting_net.parameters)))
        module.fitting_net.parameter_inverse.copy_(torch.from_numpy(rng.uniform(1, 2, config.fitting_net.parameters)))
    domain = Domain(frames=3, atoms=(2, 64), smallest_distance=smallest_distance or {},
                    force_jump=None if smooth else 0.25)
    return Model(module, ModelCard(config, domain, training={"steps": 10}, package_version="0.0"))


def random_terms(k, pairs, rng):
    """Pairs [2, R] and places [M] of a polynomial of k inputs: runs of any length, but none empty."""
    ends = np.sort(rng.integers(0, k + 1, (2, pairs)), axis=0)
    begin = rng.integers(np.maximum(ends[1], 1), k + 1)
    stop = rng.integers(begin + 1, k + 2)
    places = [c * pairs + r for r in range(pairs) for c in range(begin[r], stop[r])]
    return torch.from_numpy(ends), torch.tensor(places)


def fill_polynomial(polynomial, terms, rng):
    """With these, and weights of about one."""
    polynomial.pairs.copy_(terms[0])
    polynomial.places.copy_(terms[1])
    polynomial.weight.copy_(torch.from_numpy(rng.normal(size=len(terms[1]))))


def _smooth_statistics(n_types, sel, rng):
    sel = rng.integers(20, 40, n_types) if sel is None else np.asarray(sel)
    return {"davg": rng.uniform(0.02, 0.1, n_types), "dstd": rng.uniform(0.05, 0.1, (n_types, 2)), "sel": sel,
            "s_max": 1.0 / CLOSEST}


def _slot_statistics(module, rng):
    """Wide enough for nets that are not saturated."""
    shape = tuple(module.descriptor.davg.shape)
    return {"davg": rng.uniform(-0.1, 0.3, shape), "dstd": rng.uniform(0.3, 0.6, shape)}


def random_atoms(n=8, symbols=("H", "O"), *, seed=0, cell=SKEWED, pbc=True) -> Atoms:
    """Atoms scattered in the cell, none closer than 1 A to another or its images."""
    rng = np.random.default_rng(seed)
    cell = np.asarray(cell, float) * max(1.0, (n / 10) ** (1 / 3))
    positions: list[np.ndarray] = []
    while len(positions) < n:
        trial = [*positions, rng.uniform(size=3) @ cell]
        if len(neighbor_pairs(np.array(trial), cell, np.ones(3, bool), 1.0).i) == 0:
            positions = trial
    return Atoms(rng.choice(symbols, n), np.array(positions).reshape(-1, 3), cell=cell, pbc=pbc)


def types_in(model: Model, atoms: Atoms) -> np.ndarray:
    return np.array([model.card.type_map.index(symbol) for symbol in atoms.symbols], dtype=np.int64)


class Trained:
    """An engine made of the module as it was trained: nothing folded, nothing compiled."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def evaluate(self, types: np.ndarray, pairs: Pairs, parameters: np.ndarray | None = None) -> Prediction:
        n, n_types = len(types), len(self.model.card.type_map)
        t, i, j, v = map(torch.from_numpy, (types, pairs.i, pairs.j, pairs.vectors))
        extra = () if parameters is None else (torch.from_numpy(parameters),)
        energies, gradient = (part.detach() for part in self.model.module(t, i, t[j], v, *extra))
        closest = np.full((n_types, n_types), np.inf)
        np.minimum.at(closest, (types[pairs.i], types[pairs.j]), np.linalg.norm(pairs.vectors, axis=1))
        parts = (energies, forces(gradient, i, j, n), virials(gradient, v, j, n))
        return Prediction(*(part.numpy() for part in parts), closest)


needs_numba = pytest.mark.skipif(not compilable(), reason="needs numba")
both_engines = pytest.mark.parametrize("compiled", [pytest.param(True, marks=needs_numba), False],
                                       ids=["compiled", "torch"])
# How a model can be evaluated, as options of `predictor`.
every_way = pytest.mark.parametrize("way", [{"eager": True}, {"compiled": False},
                                            pytest.param({"compiled": True}, marks=needs_numba)],
                                    ids=["trained", "folded", "compiled"])


def predictor(model: Model, *, eager=False, compiled=None):
    """Function: prediction of the model for some atoms, without the calculator."""
    run = Trained(model) if eager else engine(model, compiled=compiled)

    def predict(atoms: Atoms, parameters: np.ndarray | None = None) -> Prediction:
        return run.evaluate(types_in(model, atoms), pairs_in(model, atoms), parameters=parameters)

    return predict


def card_as_written(model: Model) -> ModelCard:
    """The model's card with what saving adds to it."""
    return replace(model.card, series=describe_series(model.module, fold(model.module)))


def assert_same_weights(got, expected):
    """Of two modules: bit for bit, in the same order and precision."""
    got, expected = got.state_dict(), expected.state_dict()
    assert list(got) == list(expected)
    for key in expected:
        assert got[key].dtype == expected[key].dtype
        assert torch.equal(got[key], expected[key]), key


def pairs_in(model: Model, atoms: Atoms) -> Pairs:
    return neighbor_pairs(atoms.positions, atoms.cell[:], atoms.pbc, model.card.rcut)


def predict(model: Model, atoms: Atoms, **way) -> Prediction:
    """Prediction of the model for the atoms, without the calculator."""
    return predictor(model, **way)(atoms)


class RandomPairs(NamedTuple):
    """Pairs that belong to no structure."""

    first: np.ndarray  # [n + 1]
    i: np.ndarray  # [E]
    j: np.ndarray  # [E]
    types: np.ndarray  # [n]
    vectors: np.ndarray  # [E, 3]

    @property
    def types_j(self) -> np.ndarray:
        return self.types[self.j]


def random_pairs(counts, *, seed=0, n_types=2, lengths=(1.2, 4.5)) -> RandomPairs:
    """So many pairs of each of len(counts) centres, with lengths in a range."""
    rng = np.random.default_rng(seed)
    n, size = len(counts), sum(counts)
    directions = rng.normal(size=(size, 3))
    vectors = directions / np.linalg.norm(directions, axis=1)[:, None] * rng.uniform(*lengths, size)[:, None]
    return RandomPairs(np.cumsum([0, *counts]), np.repeat(np.arange(n), counts), rng.integers(0, n, size),
                       rng.integers(0, n_types, n), vectors)


def arguments_of(model: Model, atoms: Atoms) -> list[torch.Tensor]:
    """Of the model's module, for a structure."""
    types, pairs = types_in(model, atoms), pairs_in(model, atoms)
    return [torch.from_numpy(array) for array in (types, pairs.i, types[pairs.j], pairs.vectors)]


def assert_weight_derivative(model: Model, name: str, arguments: list[torch.Tensor], **tolerance: float) -> None:
    """A loss of energies and pair gradients: its derivative along a random direction of one weight, by finite steps."""
    weight = dict(model.module.named_parameters())[name]
    direction = torch.from_numpy(np.random.default_rng(0).normal(size=tuple(weight.shape)))
    probe = torch.from_numpy(np.random.default_rng(1).normal(size=tuple(arguments[3].shape)))

    def loss():
        energies, gradient = model.module(*arguments)
        return energies.sum() + (gradient * probe).sum()

    loss().backward()
    slope = float((weight.grad * direction).sum())

    def moved(h):
        with torch.no_grad():
            weight.add_(direction, alpha=float(h))
            value = float(loss())
            weight.sub_(direction, alpha=float(h))
        return value

    found = oracles.central_difference(lambda h: moved(h[0]), [0.0])[0]
    assert found == pytest.approx(slope, **tolerance)


def energy_at(run, atoms):
    """Function: the energy with the atoms elsewhere, by what ``predictor`` returns; to differentiate."""
    def energy(positions):
        moved = atoms.copy()
        moved.positions = positions
        return run(moved).energies.sum()

    return energy
