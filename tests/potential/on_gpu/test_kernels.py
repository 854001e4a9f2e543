"""The kernels, on a GPU or in Triton's interpreter, against the model in torch."""

import importlib

import numpy as np
import pytest
import torch
from ase import Atoms
from builders import pairs_in, predict, predictor, random_atoms, random_model, types_in

from ase_deeppot.neighbors import Pairs
from ase_deeppot.potential.engine import _on_gpu, engine
from ase_deeppot.potential.folding import fold

triton = pytest.importorskip("triton", reason="needs Triton, which comes with torch for CUDA")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
TOLERANCE = {"float64": 1e-11, "float32": 2e-4}
SMALL = {"neuron": (3, 6), "order": 24}  # the interpreter takes its time


def of_kernels(model, atoms, atoms_per_group=3, **options):
    # Read only here, after conftest has spoken.
    module = importlib.import_module("ase_deeppot.potential.on_gpu.engine")
    run = module.GpuEngine(fold(model.module).to(DEVICE), DEVICE, atoms_per_group)
    return run.evaluate(types_in(model, atoms), pairs_in(model, atoms), **options)


def assert_same(got, expected, tolerance=1e-11):
    for part, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(part, other, rtol=0, atol=tolerance)


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize(("l_max", "third"), [(1, 0), (2, 0), (3, 0), (3, 2)])
def test_the_model_in_torch(l_max, third, precision):
    shape = SMALL | {"l_max": l_max, "bispectrum_neuron": third}
    model, atoms = random_model(precision=precision, **shape), random_atoms(5, seed=l_max)
    assert_same(of_kernels(model, atoms), predict(model, atoms, compiled=False), TOLERANCE[precision])


def test_groups_of_pairs_that_an_atom_has_more_of(monkeypatch):
    model, atoms = random_model(**SMALL), random_atoms(4, cell=np.diag([3.2, 3.1, 3.4]))
    assert max(np.bincount(pairs_in(model, atoms).i)) > 24
    for name in ("moments", "forces"):
        monkeypatch.setattr(importlib.import_module(f"ase_deeppot.potential.on_gpu.{name}"), "PAIRS", 8)
    assert_same(of_kernels(model, atoms), predict(model, atoms, compiled=False))


def test_atoms_closer_than_the_series_reaches():
    model = random_model(**SMALL)
    atoms = Atoms("OHH", [[0, 0, 0], [0.5, 0.1, 0], [-0.3, 0.9, 0.2]])
    assert_same(of_kernels(model, atoms), predict(model, atoms, compiled=False), 1e-9)


def test_atoms_without_neighbours_and_none():
    model = random_model(**SMALL)
    for atoms in (Atoms("O"), Atoms(), Atoms("OHO", [[0, 0, 0], [1.1, 0, 0], [50, 0, 0]])):
        assert_same(of_kernels(model, atoms), predict(model, atoms, compiled=False))


def test_species_that_are_not_there():
    model, atoms = random_model(("H", "C", "O"), **SMALL), random_atoms(4, ("H", "O"))
    assert_same(of_kernels(model, atoms), predict(model, atoms, compiled=False))


def test_parts_of_a_descriptor():
    parts = ({"rcut": 4.0, **SMALL}, {"kind": "radial", "rcut": 3.0, **SMALL})
    model, atoms = random_model(sel=(40, 41), kind="hybrid", parts=parts), random_atoms(4)
    assert_same(of_kernels(model, atoms), predict(model, atoms, compiled=False))


def test_polynomials_in_place_of_nets():
    model = random_model(polynomial=(5, 8), fitting_neuron=(6,), fitting_activation="linear", **SMALL)
    atoms = random_atoms(5)
    assert_same(of_kernels(model, atoms), predict(model, atoms, compiled=False))


def test_parameters_of_frames_and_atoms():
    model, atoms = random_model(frame_parameters=1, atom_parameters=1, **SMALL), random_atoms(4)
    given = np.random.default_rng(0).normal(size=(4, 2))
    assert_same(of_kernels(model, atoms, parameters=given), predictor(model, compiled=False)(atoms, given))


def test_only_the_first_atoms_have_an_energy():
    model, atoms = random_model(**SMALL), random_atoms(5)
    pairs = pairs_in(model, atoms)
    kept = pairs.i < 3
    some = Pairs(*(part[kept] for part in pairs[:4]), pairs.shift_table)
    module = importlib.import_module("ase_deeppot.potential.on_gpu.engine")
    got = module.GpuEngine(fold(model.module).to(DEVICE), DEVICE).evaluate(types_in(model, atoms), some, 3)
    assert_same(got, engine(model, compiled=False).evaluate(types_in(model, atoms), some, 3))


def test_ready_when_attached():
    """Kernels are made with the engine, of a model that takes parameters too."""
    model, atoms = random_model(frame_parameters=1, **SMALL), random_atoms(3)
    run, given = _on_gpu(fold(model.module), DEVICE), np.full((3, 1), 0.3)
    got = run.evaluate(types_in(model, atoms), pairs_in(model, atoms), parameters=given)
    assert_same(got, predictor(model, compiled=False)(atoms, given))
