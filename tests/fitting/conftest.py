"""Data and options for training in a moment: copper-gold with EMT's labels, the bundled alcohols, tiny nets."""

import copy

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from ase_deeppot.fitting import fit
from ase_deeppot.resources import find

LABELS = ("energy", "forces", "stress")


def emt_frame(atoms: Atoms, properties) -> Atoms:
    """A copy with some of EMT's results and no calculator that could compute others."""
    labelled = atoms.copy()
    atoms.calc = EMT()
    values = {name: atoms.calc.get_property(name, atoms) for name in properties}
    labelled.calc = SinglePointCalculator(labelled, **values)
    return labelled


@pytest.fixture(scope="session")
def alloys():
    """Function: strained and rattled Cu-Au frames of 4 or 8 atoms and changing composition."""

    def frames(count, seed=0, properties=LABELS, gold=0.4, strain=0.04):
        rng = np.random.default_rng(seed)
        made = []
        for k in range(count):
            atoms = bulk("Cu", a=3.8, cubic=True) * ((1, 1, 2) if k % 2 else (1, 1, 1))
            atoms.symbols[rng.random(len(atoms)) < gold] = "Au"
            atoms.set_cell(atoms.cell[:] @ (np.eye(3) + rng.uniform(-strain, strain, (3, 3))), scale_atoms=True)
            atoms.rattle(0.1, rng=rng)
            made.append(emt_frame(atoms, properties[k % len(properties)] if isinstance(properties[0], tuple)
                                  else properties))
        return made

    return frames


@pytest.fixture(scope="session")
def isolated():
    """Function: an isolated atom with EMT's energy."""
    return lambda symbol: emt_frame(Atoms(symbol, [[0, 0, 0]]), ("energy", "forces"))


@pytest.fixture(scope="session")
def alcohols():
    return str(find("examples/data/alcohols.db"))


TINY = {
    "model": {"rcut": 4.0, "precision": "float64", "descriptor": {"neuron": [3, 6], "axis_neuron": 2},
              "fitting_net": {"neuron": [6, 6]}},
    "learning_rate": {"start": 5e-3, "stop": 1e-4, "matrices": 5e-3},
    "training": {"steps": 12, "batch_atoms": 16, "validate_every": 5, "checkpoint_every": 4},
    "monitor": {"plot": False, "report": False},
}


@pytest.fixture(scope="session")
def tiny():
    """Function: options of a run of a dozen steps, with changes to some tables."""

    def options(**changes):
        made = copy.deepcopy(TINY)
        for table, values in changes.items():
            made[table] = made.get(table, {}) | values if isinstance(values, dict) else values
        return made

    return options


@pytest.fixture
def train(tmp_path, tiny):
    """Function: ``fit`` with tiny options into ``tmp_path/out``."""

    def run(frames, validation=None, *, output="out", restart=False, **changes):
        return fit(frames, validation, output=str(tmp_path / output), restart=restart, quiet=True, **tiny(**changes))

    return run
