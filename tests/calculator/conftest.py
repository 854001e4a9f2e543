"""Both kinds of models go through the same tests: DeepPot-SE with random weights, DPMD trained."""

from typing import NamedTuple

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc100
from ase.calculators.emt import EMT
from ase.db import connect
from builders import random_atoms, random_model
from superlattice import AXIS_RULE, distorted, slab, superlattice

from ase_deeppot import load_model
from ase_deeppot.resources import find

ALCOHOLS = find("examples/data/alcohols.db")


@pytest.fixture(params=["smooth", "local_frame"])
def kind(request):
    """Of the descriptor."""
    return request.param


@pytest.fixture
def model_file(model_file, kind, request):
    """Function: path of a file with ``random_model(kind=kind, **options)``; for local frames without options, trained.

    Hydrogen and oxygen, rcut 4 A either way.
    """
    def path(**options):
        if kind == "local_frame" and not options:
            return request.getfixturevalue("local_frame_model")
        return model_file(kind=kind, **options)

    return path


@pytest.fixture
def model(model_file, kind):
    """The eager model in ``model_file()``; a random one is made anew, so that what the file holds is tested too."""
    return random_model() if kind == "smooth" else load_model(model_file())


def labelled(atoms):
    """With EMT's energy and forces: it knows hydrogen and oxygen, if not what they do."""
    atoms.calc = EMT()
    atoms.get_forces()
    return atoms


@pytest.fixture(scope="session")
def local_frame_model(tmp_path_factory):
    """File of a local-frame model trained on scattered atoms and on pairs closer than any of the tests'."""
    from ase_deeppot.fitting import fit  # only here, so that the tests of the calculator don't depend on it

    pairs = [Atoms(pair, [[0, 0, 0], [r, 0, 0]]) for pair in ("HH", "HO", "OO") for r in np.arange(0.5, 3.0, 0.25)]
    frames = [labelled(atoms) for atoms in (*(random_atoms(8, seed=100 + k) for k in range(30)), *pairs)]
    slots = {"sel_a": {"H": 12, "O": 12}, "sel_r": {"H": 20, "O": 20}}
    result = fit(frames, output=str(tmp_path_factory.mktemp("local_frame")), quiet=True,
                 model={"type_map": ["H", "O"], "rcut": 4.0, "descriptor": {"kind": "local_frame", **slots},
                        "fitting_net": {"neuron": [20, 10]}},
                 learning_rate={"matrices": 5e-3}, data={"validation_fraction": 0.0},
                 training={"steps": 300, "batch_atoms": 24, "validate_every": 300, "checkpoint_every": 300},
                 monitor={"plot": False, "report": False})
    return result.model


class Crystal(NamedTuple):
    """What a trained model knows, with what the potential that made its labels gives for it."""

    model: str  # file
    atoms: Atoms  # four, at rest
    primitive: Atoms
    slab: Atoms  # periodic in two directions, near rest
    supercell: tuple[int, int, int]  # of the primitive cell, for phonons
    highest_phonon: float  # meV
    bulk_modulus: float  # eV/A^3


@pytest.fixture
def crystal(kind, request):
    """The crystal of each kind of model in which its energy is smooth.

    Copper for DeepPot-SE. Its neighbours are equally far from each other, and any motion changes their order: local
    frames have a crystal whose order is kept.
    """
    if kind == "smooth":
        surface = fcc100("Cu", (1, 1, 3), a=3.6, vacuum=6.0)
        add_adsorbate(surface, "Cu", 1.8, "hollow")
        return Crystal(request.getfixturevalue("copper_model"), bulk("Cu", a=3.59, cubic=True), bulk("Cu", a=3.59),
                       surface, (5, 5, 5), 33.0, 0.85)
    return Crystal(request.getfixturevalue("superlattice_model"), superlattice(), superlattice(), slab(), (3, 3, 2),
                   45.6, 0.79)


@pytest.fixture(scope="session")
def superlattice_model(tmp_path_factory, compiled_loops):
    """File of a local-frame model trained on the superlattice, slabs and molecules of it."""
    from ase_deeppot.fitting import fit

    result = fit(distorted(480, seed=0), distorted(16, seed=99), quiet=True,
                 output=str(tmp_path_factory.mktemp("superlattice")),
                 model={"rcut": 3.45, "precision": "float64",
                        "descriptor": {"kind": "local_frame", "axis_rule": AXIS_RULE},
                        "fitting_net": {"neuron": [60, 60]}},
                 learning_rate={"matrices": 1e-2}, loss={"start_pref_v": 1.0, "limit_pref_v": 1.0},
                 training={"steps": 2000, "batch_atoms": 12, "validate_every": 2000, "checkpoint_every": 2000},
                 monitor={"plot": False, "report": False})
    errors = {entry.name: entry.rmse for entry in result.validation}
    assert errors["forces"] < 0.15, "the training of this fixture went wrong, and so will the tests that use it"
    return result.model


@pytest.fixture(scope="session")
def alcohol_model(tmp_path_factory):
    """File of a local-frame model trained for a moment on the bundled ethanol: good enough to keep the molecule.

    Its jumps, which differ from one such model to the next, are small enough for the thermostat of the tests.
    """
    from ase_deeppot.fitting import fit

    result = fit(f"{ALCOHOLS}@molecule=ethanol,split=train", quiet=True,
                 output=str(tmp_path_factory.mktemp("alcohol")),
                 model={"rcut": 5.0, "descriptor": {"kind": "local_frame"}, "fitting_net": {"neuron": [30, 15]}},
                 training={"steps": 400, "validate_every": 400, "checkpoint_every": 400, "fit_output_layers": False},
                 monitor={"plot": False, "report": False})
    return result.model


@pytest.fixture
def ethanol():
    """A bent and stretched molecule that ``alcohol_model`` was not trained on."""
    return next(connect(ALCOHOLS).select(molecule="ethanol", split="test")).toatoms()


def alloy_at_rest():
    """Copper and gold without symmetry, nearly at rest in EMT's forces and stress; nothing is 3.3 to 3.5 A apart."""
    cell = [[5.556, 0.0, 0.0], [1.301, 4.558, 0.0], [-1.493, 1.384, 6.929]]
    places = [[0.783, 0.901, 0.879], [0.852, 0.403, 0.711], [0.951, 0.885, 0.559], [0.541, 0.374, 0.393],
              [0.373, 0.404, 0.711], [0.627, 0.879, 0.234], [0.204, 0.399, 0.046], [0.052, 0.367, 0.402],
              [0.702, 0.390, 0.050], [0.129, 0.876, 0.229], [0.289, 0.905, 0.867], [0.463, 0.891, 0.556]]
    return Atoms("CuAuCu3Au6Cu", scaled_positions=places, cell=cell, pbc=True)


@pytest.fixture
def alloy():
    """The crystal that ``alloy_model`` knows."""
    return alloy_at_rest()


@pytest.fixture(scope="session")
def alloy_model(tmp_path_factory):
    """File of a local-frame model trained around ``alloy``, with EMT's energies, forces and stresses."""
    from ase_deeppot.fitting import fit

    result = fit(distorted_alloy(100, seed=0), distorted_alloy(8, seed=99), quiet=True,
                 output=str(tmp_path_factory.mktemp("alloy")),
                 model={"rcut": 3.4, "precision": "float64", "descriptor": {"kind": "local_frame"},
                        "fitting_net": {"neuron": [40, 20]}},
                 learning_rate={"matrices": 5e-3}, loss={"start_pref_v": 1.0, "limit_pref_v": 1.0},
                 training={"steps": 400, "batch_size": 2, "validate_every": 400, "checkpoint_every": 400},
                 monitor={"plot": False, "report": False})
    errors = {entry.name: entry.rmse for entry in result.validation}
    assert errors["forces"] < 0.3, "the training of this fixture went wrong, and so will the tests that use it"
    return result.model


def distorted_alloy(count, seed):
    """The crystal strained and rattled."""
    rng = np.random.default_rng(seed)
    frames = []
    for k in range(count):
        frame = alloy_at_rest()
        frame.set_cell(frame.cell[:] @ (np.eye(3) + rng.uniform(-0.025, 0.025, (3, 3))), scale_atoms=True)
        frame.rattle((0.02, 0.05, 0.09)[k % 3], rng=rng)
        frames.append(labelled(frame))
    return frames
