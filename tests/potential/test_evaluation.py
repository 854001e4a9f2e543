import numpy as np
import pytest
import torch
from builders import predict, random_atoms, random_model
from hypothesis import given
from hypothesis import strategies as st

from ase_deeppot.neighbors import Pairs
from ase_deeppot.potential.evaluation import _chunks, compiled_kernels


@pytest.mark.parametrize("pairs_per_chunk", [1, 7, 100, 10**9])
def test_chunks_give_the_numbers_of_one_piece(pairs_per_chunk):
    model, atoms = random_model(), random_atoms(12)
    atoms += random_atoms(1, pbc=False)  # near others; and one far from all of them
    atoms.positions[-1] += 300.0
    atoms.pbc = False
    whole = predict(model, atoms)
    for part, expected in zip(predict(model, atoms, pairs_per_chunk=pairs_per_chunk), whole, strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-12, atol=1e-13)


@given(counts=st.lists(st.integers(0, 9), max_size=12), limit=st.integers(1, 20))
def test_chunks_cover_every_atom_and_pair_once_within_the_limit(counts, limit):
    n, total = len(counts), sum(counts)
    i, zeros = np.repeat(np.arange(n), counts), np.zeros(total, dtype=np.int64)
    vectors = np.arange(3.0 * total).reshape(total, 3)
    chunks = list(_chunks(np.zeros(n, dtype=np.int64), Pairs(i, zeros, vectors, zeros, zeros[:, None]), limit))
    assert [k for chunk in chunks for k in range(n)[chunk.atoms]] == list(range(n))
    assert [k for chunk in chunks for k in range(total)[chunk.rows]] == list(range(total))
    for chunk in chunks:
        assert len(chunk.vectors) <= limit or len(chunk.types) == 1
        assert list(np.diff(chunk.first)) == counts[chunk.atoms]
        np.testing.assert_array_equal(chunk.vectors, vectors[chunk.rows])


def test_many_atoms_need_no_more_than_their_chunks():
    seen = []

    class Counting(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, types, i, types_j, vectors):
            seen.append(len(i))
            return self.inner(types, i, types_j, vectors)

    model = random_model()
    predict(model._replace(module=Counting(model.module)), random_atoms(12), pairs_per_chunk=200, fused=False)
    assert len(seen) > 1
    assert max(seen) <= 200


def test_results_need_no_gradient_context():
    model, atoms = random_model(), random_atoms(4)
    with torch.no_grad():
        inside = predict(model, atoms)
    np.testing.assert_array_equal(inside.forces, predict(model, atoms).forces)
    assert abs(inside.forces).max() > 0


def test_inference_mode_of_the_caller_does_not_matter():
    model, atoms = random_model(), random_atoms(4)
    expected = predict(model, atoms).forces
    with torch.inference_mode():
        np.testing.assert_array_equal(predict(model, atoms).forces, expected)


@pytest.mark.skipif(compiled_kernels() is None, reason="needs numba")
@pytest.mark.parametrize("pairs_per_chunk", [100, 32_768])
@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-10), ("float32", 2e-3)])
def test_compiled_loops_agree_with_torch(precision, tolerance, pairs_per_chunk):
    model, atoms = random_model(precision=precision), random_atoms(30)
    fused = predict(model, atoms, pairs_per_chunk=pairs_per_chunk, fused=True)
    for got, expected in zip(fused, predict(model, atoms, fused=False), strict=True):
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.skipif(compiled_kernels() is None, reason="needs numba")
def test_threads_change_nothing(monkeypatch):
    model, atoms = random_model(), random_atoms(30)
    expected = predict(model, atoms, fused=True)
    monkeypatch.setattr("ase_deeppot.potential.evaluation.PAIRS_PER_THREAD", 50)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    for got, want in zip(predict(model, atoms, fused=True), expected, strict=True):
        np.testing.assert_array_equal(got, want)
