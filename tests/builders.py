"""Models and structures for tests, made from a seed."""

import numpy as np
import torch
from ase import Atoms

from ase_deeppot.neighbors import neighbor_pairs
from ase_deeppot.potential.archive import Model
from ase_deeppot.potential.card import Domain, ModelCard
from ase_deeppot.potential.config import DescriptorConfig, FittingNetConfig, ModelConfig
from ase_deeppot.potential.deep_potential import DeepPotential
from ase_deeppot.potential.engine import engine

SKEWED = np.array([[5.1, 0.0, 0.0], [1.9, 4.7, 0.0], [-1.3, 1.1, 5.3]])  # A

CLOSEST = 0.8  # A, up to which the series of the embedding nets are made
ORDER = 160  # of the series: exact to rounding for the wild nets of an untrained model

FORCE_SCALE = 10.0  # brings the forces of the untrained nets to about 1 eV/A


def random_model(type_map=("H", "O"), *, seed=0, rcut=4.0, precision="float64", sel=None, smallest_distance=None,
                 fitting_neuron=(10, 10), fitting_activation="tanh", fitting_resnet_dt=True, **descriptor) -> Model:
    """An untrained eager model whose statistics, biases and weights are all different from their defaults."""
    shape = {"rcut_smth": 1.0, "neuron": (4, 8), "axis_neuron": 3, "order": ORDER} | descriptor
    config = ModelConfig(tuple(type_map), rcut, precision, DescriptorConfig(**shape),
                         FittingNetConfig(tuple(fitting_neuron), fitting_activation, fitting_resnet_dt))
    n_types = len(type_map)
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = DeepPotential(config).eval()
    sel = rng.integers(20, 40, n_types) if sel is None else np.asarray(sel)
    statistics = {"davg": rng.uniform(0.02, 0.1, n_types), "dstd": rng.uniform(0.05, 0.1, (n_types, 2)), "sel": sel}
    for name, value in statistics.items():
        getattr(module.descriptor, name).copy_(torch.from_numpy(np.asarray(value, dtype=float)))
    module.descriptor.s_max.fill_(1.0 / CLOSEST)
    with torch.no_grad():
        for net in module.fitting_net.nets:
            net[-1].weight.mul_(FORCE_SCALE)
    module.fitting_net.energy_bias.copy_(torch.from_numpy(rng.uniform(-5.0, -1.0, n_types)))
    domain = Domain(frames=3, atoms=(2, 64), smallest_distance=smallest_distance or {})
    return Model(module, ModelCard(config, domain, {"steps": 10}, "0.0"))


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


def predict(model: Model, atoms: Atoms, **options):
    """Prediction of the model for the atoms, without the calculator."""
    pairs = neighbor_pairs(atoms.positions, atoms.cell[:], atoms.pbc, model.card.rcut)
    return engine(model, **options).evaluate(types_in(model, atoms), pairs)
