"""Threads of ours, beside torch's."""

import functools
import os
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Callable, Iterator, Optional, Tuple

import torch

FEWEST = 12  # atoms that are worth a thread
_TAKEN: ContextVar[Optional[int]] = ContextVar("threads", default=None)


class Threads:
    """Threads that wait for work, each holding torch to itself; they start when first needed.

    The calling thread takes a share too. If it only waited, two that wake up at once would as a rule be given the
    processor that it leaves, and one of them wait for the other, beside an idle one.
    """

    def __init__(self, name: str = "deeppot") -> None:
        self._name = name
        self._pool: Tuple[ThreadPoolExecutor, int, int] | None = None  # with its size, and the process it lives in

    def run(self, work: Callable[[int], None], threads: int) -> None:
        """Call ``work`` with 0 to ``threads - 1``."""
        if threads == 1:
            work(0)
            return
        if self._pool is None or self._pool[1] < threads - 1 or self._pool[2] != os.getpid():
            self._pool = (_start(threads - 1, self._name), threads - 1, os.getpid())
        others = [self._pool[0].submit(work, share) for share in range(1, threads)]
        try:
            work(0)
        finally:
            wait(others)
        for other in others:
            other.result()


@functools.cache
def shared_threads() -> Threads:
    """Those of all that trains in this process."""
    return Threads("deeppot-shared")


@contextmanager
def taken_from_torch() -> Iterator[None]:
    """As many threads as torch had are ours, and torch has one: its own wait for each other at each small operation."""
    several = torch.get_num_threads()
    token = _TAKEN.set(several)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(several)
        _TAKEN.reset(token)


@contextmanager
def given_back() -> Iterator[None]:
    """For a while torch has its threads again, for large operations."""
    taken, one = _TAKEN.get(), torch.get_num_threads()
    token = _TAKEN.set(None)
    torch.set_num_threads(one if taken is None else taken)
    try:
        yield
    finally:
        torch.set_num_threads(one)
        _TAKEN.reset(token)


def number_of_threads() -> int:
    """Those taken from torch, else as many as torch has."""
    taken = _TAKEN.get()
    return torch.get_num_threads() if taken is None else taken


def threads_for(atoms: int) -> int:
    """How many are worth starting for so many atoms."""
    return max(1, min(number_of_threads(), atoms // FEWEST))


def _start(threads: int, name: str) -> ThreadPoolExecutor:
    """So many threads, all of them started: what one sets for itself, threads that start later would take over."""
    several, ready = torch.get_num_threads(), threading.Barrier(threads)
    pool = ThreadPoolExecutor(threads, name, lambda: torch.set_num_threads(1))
    list(pool.map(lambda _: ready.wait(), range(threads)))
    torch.set_num_threads(several)
    return pool
