"""Fixtures that several test files share."""

import numpy as np
import pytest
import torch
from ase.build import add_adsorbate, bulk, fcc100
from ase.calculators.emt import EMT
from builders import predict, random_atoms, random_model
from hypothesis import settings

from ase_deeppot import DeepPotCalculator
from ase_deeppot.compiler import compilable
from ase_deeppot.potential.archive import save_model

# Seconds on a loaded machine say nothing; a failure must come again on the next run.
settings.register_profile("tests", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("tests")


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """The structures are small: threads would cost more than they bring, and other tests may share the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def compiled_loops():
    """The loops are compiled before the test, so that no calculator changes from torch to them in its middle."""
    if compilable():
        for precision in ("float64", "float32"):
            predict(random_model(precision=precision), random_atoms(2), compiled=True)


@pytest.fixture(scope="session")
def model_file(tmp_path_factory, compiled_loops):
    """Function: path of a file with ``random_model(**options)``, written once for equal options."""
    written = {}

    def write(**options):
        key = repr(sorted(options.items()))
        if key not in written:
            written[key] = tmp_path_factory.mktemp("model") / "random.pth"
            save_model(written[key], random_model(**options))
        return written[key]

    return write


@pytest.fixture
def calculator(model_file):
    """Function: a fresh calculator with the random H-O model."""
    return lambda **options: DeepPotCalculator(model_file(), **options)


def copper_frames(count, seed):
    """Strained and rattled fcc copper, some of it far towards bcc, with EMT's energies, forces and stresses."""
    rng = np.random.default_rng(seed)
    frames = []
    for k in range(count):
        atoms = bulk("Cu", cubic=True) * ((1, 1, 2) if k % 2 else (1, 1, 1))
        tetragonal = np.diag([1.0, 1.0, 2**-0.5]) * 2 ** (1 / 6) - np.eye(3)  # the Bain path, at equal volume
        strain = rng.uniform(-0.03, 0.03, (3, 3)) + (rng.uniform(-0.3, 1.0) * tetragonal if k % 3 == 0 else 0.0)
        atoms.set_cell(atoms.cell[:] @ (np.eye(3) + strain), scale_atoms=True)
        atoms.rattle((0.03, 0.06, 0.1)[k % 3], rng=rng)
        atoms.calc = EMT()
        atoms.get_stress()
        frames.append(atoms)
    return frames


def copper_slabs(count, seed):
    """(100) slabs of copper with an atom on top, between what is built and what EMT makes of it, and rattled."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        atoms = fcc100("Cu", (1, 1, 3), a=rng.uniform(3.5, 3.7), vacuum=6.0)
        add_adsorbate(atoms, "Cu", rng.uniform(1.5, 2.1), "hollow")
        atoms.rattle(rng.uniform(0.02, 0.1), rng=rng)
        atoms.calc = EMT()
        atoms.get_forces()
        frames.append(atoms)
    return frames


@pytest.fixture(scope="session")
def copper_model(tmp_path_factory, compiled_loops):
    """File of a model trained on EMT copper: forces within 0.1 eV/A of 0.7, good enough for dynamics and phonons."""
    from ase_deeppot.fitting import fit  # only here, so that the tests of the model don't depend on it

    result = fit(
        copper_frames(120, seed=0) + copper_slabs(30, seed=1), copper_frames(12, seed=99), quiet=True,
        output=str(tmp_path_factory.mktemp("copper")),
        model={"rcut": 4.5, "precision": "float64", "descriptor": {"neuron": [8, 16], "axis_neuron": 4},
               "fitting_net": {"neuron": [24, 24]}},
        loss={"limit_pref_f": 300.0}, learning_rate={"start": 7e-3, "stop": 2e-4},
        training={"steps": 800, "batch_atoms": 12, "validate_every": 800, "checkpoint_every": 800},
        monitor={"plot": False, "report": False})
    accuracy = {entry.name: entry.rmse for entry in result.validation}
    assert accuracy["forces"] < 0.15, "the training of this fixture went wrong, and so will the tests that use it"
    return result.model
