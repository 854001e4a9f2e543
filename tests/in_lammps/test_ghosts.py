"""What ghosts got comes home: against adding up by tag, in threads that play processes."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ase_deeppot.errors import StructureError
from ase_deeppot.lammps.ghosts import GhostReturn


class Processes:
    """What the threads share."""

    def __init__(self, size):
        self.size, self.barrier, self.slots = size, threading.Barrier(size), [None] * size

    def run(self, work):
        """Call work(comm) in every process; the results in order, or the first error."""
        results = [None] * self.size

        def one(rank):
            try:
                results[rank] = work(Comm(self, rank))
            except Exception as error:
                results[rank] = error

        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        for result in results:
            if isinstance(result, Exception):
                raise result
        return results


class Comm:
    """The few calls of an MPI communicator that are used."""

    def __init__(self, shared, rank):
        self.shared, self.rank, self.size = shared, rank, shared.size

    def _all(self, value):
        self.shared.slots[self.rank] = value
        self.shared.barrier.wait()
        values = list(self.shared.slots)
        self.shared.barrier.wait()
        return values

    def allreduce(self, value):
        return sum(self._all(value))

    def Alltoall(self, sent, received):
        received[:] = [counts[self.rank] for counts in self._all(np.array(sent))]

    def Alltoallv(self, sent, received):
        rows, counts = sent
        cut = np.split(rows.reshape(-1), np.cumsum(counts)[:-1])
        pieces = [pieces[self.rank] for pieces in self._all(cut)]
        assert [len(piece) for piece in pieces] == list(received[1])
        received[0].reshape(-1)[:] = np.concatenate(pieces)


def domains(rng, size, atoms):
    """Own tags of each process, and any images of any atoms as ghosts; some processes have neither."""
    tags, process = rng.permutation(atoms) + 1, rng.integers(0, size, atoms)
    return [(tags[process == rank], rng.integers(1, atoms + 1, rng.integers(0, 30)) if atoms else np.empty(0, int))
            for rank in range(size)]


def expected(layout, values, atoms):
    total = np.zeros((atoms + 1, values[0].shape[1]))
    for (own, ghosts), rows in zip(layout, values, strict=True):
        np.add.at(total, np.concatenate([own, ghosts]), rows)
    return [total[own] for own, _ in layout]


@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 5), atoms=st.integers(0, 40),
       kind=st.sampled_from([np.int32, np.int64]))
def test_all_images_are_added(seed, size, atoms, kind):
    rng = np.random.default_rng(seed)
    layouts = [layout for layout in (domains(rng, size, atoms), domains(rng, size, atoms)) for _ in range(2)]
    values = [[rng.normal(size=(len(own) + len(ghosts), 4)) for own, ghosts in layout] for layout in layouts]

    def work(comm):
        ghosts = GhostReturn(comm)
        return [ghosts.total(np.concatenate(layout[comm.rank]).astype(kind), len(layout[comm.rank][0]), of[comm.rank])
                for layout, of in zip(layouts, values, strict=True)]

    results = Processes(size).run(work)
    for step, (layout, of) in enumerate(zip(layouts, values, strict=True)):
        for rank, wanted in enumerate(expected(layout, of, atoms)):
            np.testing.assert_allclose(results[rank][step], wanted, atol=1e-12)


def test_atoms_without_ids():
    with pytest.raises(StructureError, match="expected atoms with ids, got some without: 'atom_modify id no'"):
        Processes(2).run(lambda comm: GhostReturn(comm).total(np.zeros(3, int), 2, np.zeros((3, 1))))
