"""What ghost atoms got goes to the atoms they are images of, in whichever process those are."""

from typing import Any, NamedTuple

import numpy as np

from ase_deeppot.errors import StructureError


class Route(NamedTuple):
    """Who sends what to whom, while the atoms stay where they are."""

    sent: np.ndarray  # [G] ghosts of this process, those of one receiver together
    sent_counts: np.ndarray  # [P] to each process
    rows: np.ndarray  # [R] which own atom each received row is for
    received_counts: np.ndarray  # [P] from each process


class GhostReturn:
    """Adds up, for every own atom, what its images got in all processes.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        The processes that LAMMPS runs in; all of them make every call.
    """

    def __init__(self, comm: Any) -> None:
        self._comm = comm
        self._tags, self._route = np.empty(0, np.int64), Route(*np.empty((4, 0), np.int64))
        self._own = -1

    def total(self, tags: np.ndarray, own: int, values: np.ndarray) -> np.ndarray:
        """Values [own, C] of the own atoms, their ghosts' added.

        Parameters
        ----------
        tags : ndarray, [N] int
            Numbers of the own atoms, then of the ghosts, the same for an atom and its images.
        own : int
            How many of them are not ghosts.
        values : ndarray, [N, C] float64

        Raises
        ------
        StructureError
            If atoms have no number.
        """
        changed = own != self._own or not np.array_equal(tags, self._tags)
        if self._comm.allreduce(int(changed)):
            self._tags, self._own = np.array(tags), own
            self._route = _route(self._comm, self._tags.astype(np.int64), own)
        ghosts = values[own:].take(self._route.sent, axis=0)
        received = _send(self._comm, ghosts, self._route.sent_counts, self._route.received_counts)
        added = [np.bincount(self._route.rows, column, own) for column in received.T]
        return values[:own] + np.stack(added, axis=1)


def _route(comm: Any, tags: np.ndarray, own: int) -> Route:
    """Find the atom of every ghost."""
    if comm.allreduce(int((tags <= 0).any())):
        raise StructureError("expected atoms with ids, got some without: 'atom_modify id no' cannot be used")
    process, row = _owners(comm, tags[:own], tags[own:]).T
    order, counts = _by_process(process, comm.size)
    received_counts = _exchange_counts(comm, counts)
    return Route(order, counts, _send(comm, row[order], counts, received_counts), received_counts)


def _owners(comm: Any, own: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Process and row [G, 2] of the wanted atoms.

    Each process keeps a book of the atoms whose tags have a certain remainder: no process needs to know all.
    """
    order, counts = _by_process(own % comm.size, comm.size)
    entries = np.stack([own, np.full(len(own), comm.rank), np.arange(len(own))], axis=1)[order]
    book = _send(comm, entries, counts, _exchange_counts(comm, counts))
    book = book[np.argsort(book[:, 0])]
    order, counts = _by_process(wanted % comm.size, comm.size)
    asked_counts = _exchange_counts(comm, counts)
    asked = _send(comm, wanted[order], counts, asked_counts)
    answers = _send(comm, book[np.searchsorted(book[:, 0], asked), 1:], asked_counts, counts)
    result = np.empty((len(wanted), 2), np.int64)
    result[order] = answers
    return result


def _by_process(process: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    return np.argsort(process, kind="stable"), np.bincount(process, minlength=size)


def _exchange_counts(comm: Any, counts: np.ndarray) -> np.ndarray:
    received = np.empty_like(counts)
    comm.Alltoall(counts, received)
    return received


def _send(comm: Any, rows: np.ndarray, counts: np.ndarray, received_counts: np.ndarray) -> np.ndarray:
    """Send so many rows to each process, in order; what has come from each, in order."""
    received = np.empty((int(received_counts.sum()), *rows.shape[1:]), rows.dtype)
    width = int(np.prod(rows.shape[1:]))
    comm.Alltoallv([np.ascontiguousarray(rows), counts * width], [received, received_counts * width])
    return received
