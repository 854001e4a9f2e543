"""The compiled engine's threads: which atoms they take, and that nobody notices them."""

import gc
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from builders import pairs_in, predict, predictor, random_atoms, random_model, types_in
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("numba", reason="the loops are compiled with numba")

from ase_deeppot.potential import compiled
from ase_deeppot.potential.atom_groups import ATOMS_PER_GROUP, groups
from ase_deeppot.potential.compiled import CompiledEngine
from ase_deeppot.potential.folding import fold
from ase_deeppot.potential.threads import Threads


@pytest.fixture
def three_threads(monkeypatch):
    """Small structures are shared among three threads."""
    monkeypatch.setattr(compiled, "PAIRS_PER_THREAD", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def our_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("deeppot_")]


def assert_rounding(got, expected, tolerance=1e-12):
    for part, wanted in zip(got, expected, strict=True):
        np.testing.assert_allclose(part, wanted, rtol=tolerance, atol=tolerance)


# Groups ---------------------------------------------------------------------------------------------------------------

@given(types=st.lists(st.integers(0, 2), max_size=30), repeats=st.sampled_from([1, 1, 50]), threads=st.integers(1, 5))
def test_groups_cover_every_atom_once(types, repeats, threads):
    types = np.array(types * repeats, dtype=np.int64)
    found = groups(types, 3, threads)
    atoms = np.concatenate([group.atoms for group in found] or [types])
    np.testing.assert_array_equal(np.sort(atoms), np.arange(len(types)))
    for species in range(3):
        sizes = [len(group.atoms) for group in found if group.species == species]
        assert all((types[group.atoms] == species).all() for group in found if group.species == species)
        assert max(sizes, default=0) <= ATOMS_PER_GROUP
        assert max(sizes, default=0) - min(sizes, default=0) <= 1
        assert len(sizes) % threads == 0 or max(sizes) == 1


# Threads --------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("n", [1, 2, 5, 40])
@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-12), ("float32", 2e-5)])
def test_threads_change_nothing_but_rounding(three_threads, monkeypatch, n, precision, tolerance):
    model, atoms = random_model(precision=precision), random_atoms(n)
    run, shares = CompiledEngine(fold(model.module)), []
    whole = run._threads.run
    monkeypatch.setattr(run._threads, "run", lambda work, n: (shares.append(n), whole(work, n)))
    got = run.evaluate(types_in(model, atoms), pairs_in(model, atoms))
    assert shares == [3 if n > 1 else 1]
    torch.set_num_threads(1)
    assert_rounding(got, predict(model, atoms, compiled=True), tolerance)


def test_few_pairs_are_done_at_once(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    before = our_threads()
    predict(random_model(), random_atoms(10), compiled=True)
    assert set(our_threads()) <= set(before)


def test_structures_of_any_size_in_turn(three_threads):
    """What a thread keeps for later calls does not show."""
    model = random_model()
    run = predictor(model, compiled=True)
    for n in (30, 3, 0, 1, 60, 12):
        atoms = random_atoms(n, seed=n)
        assert_rounding(run(atoms), predict(model, atoms, compiled=False), 1e-11)


def seen_by_a_new_thread():
    seen = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return seen[0]


def test_threads_work_at_the_same_time():
    together = threading.Barrier(3)
    Threads().run(lambda share: together.wait(60), 3)


def test_torch_keeps_its_threads(three_threads):
    """The caller's, and those of threads that others start later."""
    run = predictor(random_model(), compiled=True)
    for n in range(4):
        run(random_atoms(8, seed=n))
        assert torch.get_num_threads() == seen_by_a_new_thread() == 3


def test_threads_end_with_their_engine(three_threads):
    run = predictor(random_model(), compiled=True)
    run(random_atoms(8))
    assert our_threads()
    del run
    gc.collect()
    deadline = time.monotonic() + 30
    while our_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert our_threads() == []


def test_a_failure_in_a_thread_reaches_the_caller():
    threads = Threads()

    def work(share):
        if share == 1:
            raise FloatingPointError("in the second thread")

    with pytest.raises(FloatingPointError, match="in the second thread"):
        threads.run(work, 3)
    done = []
    threads.run(done.append, 3)
    assert sorted(done) == [0, 1, 2]


def test_torch_keeps_its_threads_after_a_failure(three_threads):
    def work(share):
        raise FloatingPointError

    with pytest.raises(FloatingPointError):
        Threads().run(work, 3)
    assert torch.get_num_threads() == seen_by_a_new_thread() == 3


def test_torch_keeps_its_threads_if_one_of_ours_starts_late(three_threads, monkeypatch):
    set_num_threads = torch.set_num_threads

    def setting(n):
        if threading.current_thread().name == "deeppot_1":
            time.sleep(0.5)
        set_num_threads(n)

    def work(share):  # by the caller and the first thread, which wait until the second one is there
        while not any(thread.name == "deeppot_1" for thread in threading.enumerate()):
            time.sleep(0.001)

    monkeypatch.setattr(torch, "set_num_threads", setting)
    threads = Threads()
    threads.run(work, 3)
    every = threading.Barrier(3)  # now wait until both have started
    for _ in range(2):
        threads._pool[0].submit(every.wait, 60)
    every.wait(60)
    assert seen_by_a_new_thread() == 3


def test_an_engine_for_each_of_several_python_threads(three_threads):
    models, got = [random_model(seed=seed) for seed in range(4)], [[] for _ in range(4)]
    structures = [random_atoms(12, seed=seed) for seed in range(5)]
    engines = [CompiledEngine(fold(model.module)) for model in models]

    def work(k):
        for atoms in structures:
            got[k].append(engines[k].evaluate(types_in(models[k], atoms), pairs_in(models[k], atoms)))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for model, results in zip(models, got, strict=True):
        for atoms, result in zip(structures, results, strict=True):
            assert_rounding(result, predict(model, atoms, compiled=False), 1e-11)
    assert torch.get_num_threads() == 3


FORKING = """
import os, signal, sys
import numpy as np, torch
from builders import pairs_in, random_atoms, random_model, types_in
from ase_deeppot.potential import compiled
from ase_deeppot.potential.engine import engine
compiled.PAIRS_PER_THREAD = 1
torch.set_num_threads(2)
model, atoms = random_model(), random_atoms(12)
run, given = engine(model, compiled=True), (types_in(model, atoms), pairs_in(model, atoms))
expected = run.evaluate(*given).forces
child = os.fork()
if child == 0:
    signal.alarm(60)  # rather than wait for threads that are not there
    os._exit(0 if np.allclose(run.evaluate(*given).forces, expected, rtol=0, atol=1e-12) else 3)
status = os.waitpid(child, 0)[1]
assert status == 0, status
assert np.allclose(run.evaluate(*given).forces, expected, rtol=0, atol=1e-12)
"""


def test_an_engine_works_in_a_forked_process():
    """After its threads have started, which the child does not have."""
    path = [str(part) for part in sys.path if part]
    result = subprocess.run([sys.executable, "-c", f"import sys; sys.path[:0] = {path}\n{FORKING}"],
                            capture_output=True, text=True, timeout=300)
    assert (result.returncode, result.stderr) == (0, "")
