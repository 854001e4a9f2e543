"""The engine in torch: atoms in groups that bound the memory."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from builders import pairs_in, predict, random_atoms, random_model, types_in
from hypothesis import given
from hypothesis import strategies as st

from ase_deeppot.potential.folding import fold
from ase_deeppot.potential.in_torch import TorchEngine, _chunks


def in_groups(model, atoms, pairs_per_chunk, potential=None):
    run = TorchEngine(potential or fold(model.module), torch.device("cpu"), pairs_per_chunk)
    return run.evaluate(types_in(model, atoms), pairs_in(model, atoms))


@pytest.mark.parametrize("pairs_per_chunk", [1, 7, 100, 10**9])
def test_groups_give_the_numbers_of_one_piece(pairs_per_chunk):
    model, atoms = random_model(), random_atoms(12)
    atoms += random_atoms(1, pbc=False)  # near others; and one far from all of them
    atoms.positions[-1] += 300.0
    atoms.pbc = False
    whole = predict(model, atoms, compiled=False)
    for part, expected in zip(in_groups(model, atoms, pairs_per_chunk), whole, strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-12, atol=1e-13)


@given(counts=st.lists(st.integers(0, 9), max_size=12), limit=st.integers(1, 20))
def test_groups_cover_every_atom_and_pair_once_within_the_limit(counts, limit):
    n, total = len(counts), sum(counts)
    i = np.repeat(np.arange(n), counts)
    chunks = list(_chunks(np.searchsorted(i, np.arange(n + 1)), limit))
    assert [k for atoms, _ in chunks for k in range(n)[atoms]] == list(range(n))
    assert [k for _, rows in chunks for k in range(total)[rows]] == list(range(total))
    for atoms, rows in chunks:
        assert rows.stop - rows.start <= limit or atoms.stop - atoms.start == 1
        assert list(i[rows]) == [k for k in range(n)[atoms] for _ in range(counts[k])]
    for (one, here), (other, there) in pairwise(chunks):  # none could be merged with the next
        first = int(np.searchsorted(i, other.start + 1))
        assert first - here.start > limit
        assert one.stop == other.start
        assert here.stop == there.start


def test_many_atoms_need_no_more_than_their_groups():
    seen = []

    class Counting(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.species = inner, inner.species

        def forward(self, types, i, types_j, vectors):
            seen.append(len(i))
            return self.inner(types, i, types_j, vectors)

    model = random_model()
    in_groups(model, random_atoms(12), 200, Counting(fold(model.module)))
    assert len(seen) > 1
    assert max(seen) <= 200
