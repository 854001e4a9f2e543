"""An engine that sees the same atoms again and again, on a GPU from recordings."""

import importlib

import numpy as np
import pytest
import torch
from builders import pairs_in, predict, predictor, random_atoms, random_model, types_in

from ase_deeppot.potential.folding import fold
from ase_deeppot.potential.on_gpu.recording import Given

pytest.importorskip("triton", reason="needs Triton, which comes with torch for CUDA")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
SMALL = {"neuron": (3, 6), "order": 24}  # the interpreter takes its time


def new_engine(model, atoms_per_group=64):
    # Read only here, after conftest has spoken.
    module = importlib.import_module("ase_deeppot.potential.on_gpu.engine")
    return module.GpuEngine(fold(model.module).to(DEVICE), DEVICE, atoms_per_group)


def assert_same(got, expected):
    for part, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(part, other, rtol=0, atol=1e-11)


def evaluated(engine, model, atoms, **options):
    return engine.evaluate(types_in(model, atoms), pairs_in(model, atoms), **options)


def test_other_atoms_between_calls():
    model = random_model(**SMALL)
    engine = new_engine(model)
    for atoms in (random_atoms(4), random_atoms(5, seed=1), random_atoms(4, ("O", "H"), seed=2)):
        for _ in range(2):
            assert_same(evaluated(engine, model, atoms), predict(model, atoms, compiled=False))


def test_fewer_centres_of_the_same_atoms():
    model, atoms = random_model(**SMALL), random_atoms(5)
    engine, pairs = new_engine(model), pairs_in(model, atoms)
    own = pairs._replace(**{name: getattr(pairs, name)[pairs.i < 3] for name in ("i", "j", "vectors", "shift_index")})
    whole = evaluated(engine, model, atoms)
    some = engine.evaluate(types_in(model, atoms), own, centres=3)
    np.testing.assert_allclose(some.energies, np.where(np.arange(5) < 3, whole.energies, 0.0), atol=1e-11)
    assert_same(evaluated(engine, model, atoms), whole)


def test_room_for_more_pairs_counts_for_nothing():
    model, atoms = random_model(**SMALL), random_atoms(5)
    engine, pairs, types = new_engine(model), pairs_in(model, atoms), types_in(model, atoms)
    same, beyond = engine._same_atoms(types, 5), np.iinfo(np.int32).max
    found = []
    for more in (0, 7):
        i, j = (np.append(part, np.full(more, fill)).astype(np.int32)
                for part, fill in ((pairs.i, beyond), (pairs.j, 0)))
        vectors = np.append(pairs.vectors, np.ones((more, 3)), axis=0)
        arrays = [torch.from_numpy(part).to(DEVICE) for part in (i, j, vectors)]
        found.append(engine._evaluate(same, Given(*arrays, None)).cpu())
    torch.testing.assert_close(*found, rtol=0, atol=1e-12)


@on_a_gpu
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_steps_from_a_recording(precision):
    model = random_model(precision=precision, bispectrum_neuron=2)
    engine, atoms, rng = new_engine(model), random_atoms(20), np.random.default_rng(0)
    for _ in range(20):
        got, expected = evaluated(engine, model, atoms), predict(model, atoms, compiled=False)
        for part, other in zip(got, expected, strict=True):
            np.testing.assert_allclose(part, other, rtol=0, atol=1e-10 if precision == "float64" else 1e-4)
        atoms.positions += rng.normal(scale=0.02, size=(20, 3))
    assert engine._recorded is not None


@on_a_gpu
def test_more_pairs_than_were_recorded():
    model, atoms = random_model(**SMALL), random_atoms(20)
    engine = new_engine(model)
    for k in range(12):
        atoms.set_cell(atoms.cell.array * (1.05 if k < 7 else 0.92), scale_atoms=True)
        assert_same(evaluated(engine, model, atoms), predict(model, atoms, compiled=False))


@on_a_gpu
def test_parameters_that_change_between_steps():
    model, atoms = random_model(frame_parameters=1, atom_parameters=1, **SMALL), random_atoms(6)
    engine, rng, expected = new_engine(model), np.random.default_rng(0), predictor(model, compiled=False)
    for _ in range(9):
        given = rng.normal(size=(6, 2))
        assert_same(evaluated(engine, model, atoms, parameters=given), expected(atoms, given))


@on_a_gpu
def test_predictions_stay_when_the_next_ones_come():
    model, atoms = random_model(**SMALL), random_atoms(6)
    engine = new_engine(model)
    found = [evaluated(engine, model, atoms) for _ in range(8)]
    kept = found[-1].forces.copy()
    atoms.rattle(0.1, seed=1)
    evaluated(engine, model, atoms)
    np.testing.assert_array_equal(found[-1].forces, kept)
