"""What every engine owes its callers: the same numbers, for any structure, without side effects."""

import subprocess
import sys
import threading

import numpy as np
import oracles
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from builders import (
    both_engines,
    every_way,
    needs_numba,
    pairs_in,
    predict,
    predictor,
    random_atoms,
    random_model,
    random_pairs,
    types_in,
)

from ase_deeppot.compiler import compilable
from ase_deeppot.neighbors import Pairs
from ase_deeppot.potential import engine as engine_module
from ase_deeppot.potential.engine import engine
from ase_deeppot.potential.in_torch import TorchEngine


def assert_close(got, expected, tolerance):
    for part, wanted in zip(got, expected, strict=True):
        np.testing.assert_allclose(part, wanted, rtol=tolerance, atol=tolerance)


def pairs_of(i, j, vectors):
    """Pairs without shifts."""
    i, j = np.array(i, dtype=np.int64), np.array(j, dtype=np.int64)
    return Pairs(i, j, np.array(vectors, dtype=float).reshape(-1, 3), np.zeros(len(i), np.uint8), np.zeros((1, 3), int))


# The same numbers -----------------------------------------------------------------------------------------------------

@needs_numba
@pytest.mark.parametrize("n", [1, 7, 60])
@pytest.mark.parametrize("options", [{}, {"type_map": ("H", "O", "Cu"), "type_one_side": False},
                                     {"type_map": ("H",), "fitting_neuron": (), "neuron": (7,), "axis_neuron": 5},
                                     {"bispectrum_neuron": 2}, {"bispectrum_neuron": 1, "l_max": 2},
                                     {"bispectrum_neuron": 1, "l_max": 5}, {"l_max": 6}])
@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-10), ("float32", 1e-4)])
def test_compiled_loops_agree_with_torch(precision, tolerance, options, n):
    model = random_model(precision=precision, **options)
    atoms = random_atoms(n, model.card.type_map)
    assert_close(predict(model, atoms, compiled=True), predict(model, atoms, compiled=False), tolerance)


def test_more_neighbours_of_a_species_than_fit_a_block():
    """Against the exact nets; the compiled loops take 96 neighbours of a species at a time."""
    model, atoms = random_model(rcut=7.5, sel=[300, 300]), random_atoms(11, ["H"])
    atoms.numbers[0] = 8
    p, types = oracles.parameters_of(model), types_in(model, atoms)
    around = oracles.neighbors(atoms.positions, atoms.cell[:], atoms.pbc, p.rcut)
    assert min(sum(types[n.j] == 0 for n in mine) for mine in around) > 100
    energies, (force, virial) = oracles.atomic_energies(p, types, around), oracles.forces_and_virial(p, types, around)
    for compiled in (True, False) if compilable() else (False,):
        got = predict(model, atoms, compiled=compiled)
        np.testing.assert_allclose(got.energies, energies, rtol=0, atol=1e-9)
        np.testing.assert_allclose(got.forces, force, rtol=0, atol=1e-8)
        np.testing.assert_allclose(got.virials.sum(0), virial, rtol=0, atol=1e-7)


@needs_numba
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_pairs_closer_than_the_series_reaches(precision):
    pairs = random_pairs([3, 100, 0, 7], seed=3, lengths=(0.3, 3.9))
    given = pairs.types, pairs_of(pairs.i, pairs.j, pairs.vectors)
    model = random_model(precision=precision)
    compiled, torch_ = (engine(model, compiled=choice).evaluate(*given) for choice in (True, False))
    scale = abs(torch_.forces).max()
    for got, expected in zip(compiled, torch_, strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=scale * (1e-11 if precision == "float64" else 2e-4))


# Any structure --------------------------------------------------------------------------------------------------------

@both_engines
@pytest.mark.parametrize("symbols", [["O"], ["H"], ["H", "Cu"]])
def test_species_that_are_absent(symbols, compiled):
    model, atoms = random_model(("H", "O", "Cu")), random_atoms(5, symbols)
    assert_close(predict(model, atoms, compiled=compiled), predict(model, atoms, eager=True), 1e-8)


@both_engines
def test_no_atoms(compiled):
    model = random_model()
    got = predict(model, Atoms(cell=[4, 4, 4], pbc=True), compiled=compiled)
    assert [part.shape for part in got] == [(0,), (0, 3), (0, 3, 3), (2, 2)]
    assert (got.closest == np.inf).all()


@both_engines
def test_an_atom_without_neighbours(compiled):
    model, atoms = random_model(), random_atoms(3, pbc=False)
    together = predict(model, atoms, compiled=compiled)
    alone = predict(model, Atoms("O"), compiled=compiled)
    assert alone.energies == pytest.approx(oracles.atomic_energies(oracles.parameters_of(model), [1], [[]]), rel=1e-9)
    both = predict(model, atoms + Atoms("O", [[200, 0, 0]]), compiled=compiled)
    assert_close([part[:3] for part in both[:3]], together[:3], 1e-12)
    assert both.energies[3] == pytest.approx(alone.energies[0], rel=1e-13)
    for part in (both.forces[3], both.virials[3], alone.forces, alone.virials):
        np.testing.assert_array_equal(part, 0.0)


@every_way
def test_smallest_distances(way):
    model = random_model(("H", "O", "Cu"), rcut=5.0)
    for atoms in (random_atoms(12, ["H", "O"]), molecule("H2O"), molecule("H2"), Atoms("CuO", [[0, 0, 0], [9, 0, 0]])):
        expected, symbols = np.full((3, 3), np.inf), model.card.type_map
        around = oracles.neighbors(atoms.positions, atoms.cell[:], atoms.pbc, 5.0)
        for i, mine in enumerate(around):
            for n in mine:
                at = symbols.index(atoms.symbols[i]), symbols.index(atoms.symbols[n.j])
                expected[at] = min(expected[at], np.linalg.norm(n.vector))
        closest = predict(model, atoms, **way).closest
        np.testing.assert_allclose(closest, expected, rtol=1e-14)
        np.testing.assert_array_equal(np.isfinite(closest), np.isfinite(closest.T))


BAD = {"nan": (np.nan, 0.0, 0.0), "at the same place": (0.0, 0.0, 0.0), "nearly": (1e-170, 0.0, 0.0)}


@both_engines
@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("vector", BAD.values(), ids=BAD.keys())
def test_what_is_no_number_comes_through(vector, precision, compiled):
    """In the atoms concerned, and in no others."""
    vectors = np.array([vector, -np.array(vector), [1.0, 0, 0], [-1.0, 0, 0]])
    got = engine(random_model(precision=precision), compiled=compiled).evaluate(
        np.array([0, 1, 0, 1]), pairs_of([0, 1, 2, 3], [1, 0, 3, 2], vectors))
    for part in got[:2]:
        finite = np.isfinite(part.reshape(4, -1)).all(axis=1)
        assert list(finite) == [False, False, True, True]


# No side effects ------------------------------------------------------------------------------------------------------

@both_engines
@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_settings_of_the_caller_neither_matter_nor_change(context, compiled):
    model, atoms = random_model(), random_atoms(4)
    expected = predict(model, atoms, eager=True)
    threads = torch.get_num_threads()
    with context():
        before = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        got = predict(model, atoms, compiled=compiled)
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == before
    assert torch.get_num_threads() == threads
    assert_close(got, expected, 1e-8)


@both_engines
def test_results_belong_to_the_caller_and_are_reproduced(compiled):
    model = random_model()
    predict = predictor(model, compiled=compiled)
    first = predict(random_atoms(9))
    kept = [part.copy() for part in first]
    predict(random_atoms(20, seed=3))
    for part, wanted in zip(first, kept, strict=True):
        assert part.dtype == np.float64
        np.testing.assert_array_equal(part, wanted)
        part[:] = 7.0
    for part, wanted in zip(predict(random_atoms(9)), kept, strict=True):
        np.testing.assert_array_equal(part, wanted)


@both_engines
def test_structures_are_left_alone(compiled):
    model, atoms = random_model(), random_atoms(9)
    pairs, types = pairs_in(model, atoms), types_in(model, atoms)
    before = [array.copy() for array in (types, *pairs)]
    engine(model, compiled=compiled).evaluate(types, pairs)
    for array, wanted in zip((types, *pairs), before, strict=True):
        np.testing.assert_array_equal(array, wanted)


@both_engines
def test_an_engine_keeps_the_weights_it_was_made_with(compiled):
    model, atoms = random_model(), random_atoms(5)
    run = predictor(model, compiled=compiled)
    expected = run(atoms).forces
    with torch.no_grad():
        for value in (*model.module.parameters(), *model.module.buffers()):
            value.zero_()
    np.testing.assert_array_equal(run(atoms).forces, expected)


# Which engine ---------------------------------------------------------------------------------------------------------

def test_what_is_asked_for_is_what_is_used(monkeypatch):
    model = random_model()
    assert isinstance(engine(model, compiled=False), TorchEngine)
    monkeypatch.setattr(engine_module, "compilable", lambda: False)
    assert isinstance(engine(model), TorchEngine)


@needs_numba
def test_torch_helps_out_until_the_loops_are_compiled(monkeypatch):
    model, atoms, start = random_model(), random_atoms(6), threading.Event()
    compiled = engine_module._compiled

    def slowly(potential):
        assert start.wait(60)
        return compiled(potential)

    monkeypatch.setattr(engine_module, "_compiled", slowly)
    monkeypatch.setattr(engine_module, "PATIENCE", 0.01)
    run = predictor(model)
    expected = predict(model, atoms, compiled=False)
    assert_close(run(atoms), expected, 0.0)
    start.set()
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "deeppot-compile")
    thread.join(60)
    assert_close(run(atoms), predict(model, atoms, compiled=True), 0.0)


def test_works_without_numba(model_file):
    """In a process where numba cannot be imported."""
    code = """
import sys
sys.modules["numba"] = None
import torch
from ase import Atoms
from ase_deeppot import DeepPotCalculator
torch.set_num_threads(1)
atoms = Atoms("OHH", [[0, 0, 0], [0.9, 0.1, 0], [-0.3, 0.9, 0.2]], calculator=DeepPotCalculator(sys.argv[1]))
print(repr(atoms.get_potential_energy()))
"""
    result = subprocess.run([sys.executable, "-W", "error", "-c", code, model_file()], capture_output=True, text=True)
    assert result.stderr == ""
    atoms = Atoms("OHH", [[0, 0, 0], [0.9, 0.1, 0], [-0.3, 0.9, 0.2]])
    assert float(result.stdout) == pytest.approx(predict(random_model(), atoms).energies.sum(), rel=1e-12)


# Atoms that are neighbours only ---------------------------------------------------------------------------------------

def of_first(run, model, atoms, centres):
    """Prediction with the first atoms as centres."""
    pairs = pairs_in(model, atoms)
    kept = pairs.i < centres
    return run.evaluate(types_in(model, atoms), Pairs(*(part[kept] for part in pairs[:4]), pairs.shift_table), centres)


@both_engines
@pytest.mark.parametrize("centres", [0, 1, 9, 12])
def test_only_the_first_atoms_have_an_energy(compiled, centres):
    """The sum over all centres, taken in two parts, each of which sees all atoms."""
    model, atoms = random_model(), random_atoms(12)
    run = engine(model, compiled=compiled)
    whole = run.evaluate(types_in(model, atoms), pairs_in(model, atoms))
    order = np.r_[centres:12, :centres]  # the others first
    parts = of_first(run, model, atoms, centres), of_first(run, model, atoms[order], 12 - centres)
    back = np.argsort(order)
    np.testing.assert_array_equal(parts[0].energies[centres:], 0.0)
    for got, more, expected in zip(*parts, whole, strict=True):
        if len(expected) == 12:  # all but the closest distances
            np.testing.assert_allclose(got + more[back], expected, rtol=1e-12, atol=1e-12)
