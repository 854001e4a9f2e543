import numpy as np
import pytest
import torch
from builders import predict, random_atoms, random_model
from hypothesis import given
from hypothesis import strategies as st

from ase_deeppot.potential.evaluation import _chunks


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
    first = np.concatenate([[0], np.cumsum(counts, dtype=int)])
    chunks = list(_chunks(first, limit))
    assert len(chunks) <= max(1, len(counts))
    atoms = [k for atoms, _ in chunks for k in range(atoms.start, atoms.stop)]
    pairs = [k for _, pairs in chunks for k in range(pairs.start, pairs.stop)]
    assert atoms == list(range(len(counts)))
    assert pairs == list(range(sum(counts)))
    for atoms, pairs in chunks:
        assert pairs.stop - pairs.start <= limit or atoms.stop - atoms.start == 1
        assert (pairs.start, pairs.stop) == (first[atoms.start], first[atoms.stop])


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
    predict(model._replace(module=Counting(model.module)), random_atoms(12), pairs_per_chunk=200)
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
