"""Coming steps made ready in a thread while the present one computes."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

import torch

T = TypeVar("T")

DEPTH = 2  # steps made ready ahead


class Prefetch(Generic[T]):
    """``prepare(step)`` for one step after the other, within its context made by a thread before it is asked for.

    What ``prepare`` raises is raised where its step is asked for. When the context is left the thread has ended: a
    thread in the middle of PyTorch's code would abort the interpreter at its end.

    Parameters
    ----------
    prepare : callable
        Depends on nothing but the step.
    stop : int
        First step that is not made.
    """

    def __init__(self, prepare: Callable[[int], T], stop: int) -> None:
        self._prepare, self._stop = prepare, stop
        self._thread: ThreadPoolExecutor | None = None
        self._coming: dict[int, Future[T]] = {}

    def __enter__(self) -> "Prefetch[T]":
        threads = torch.get_num_threads()
        self._thread = ThreadPoolExecutor(1, "deeppot-prefetch", lambda: torch.set_num_threads(1))
        self._thread.submit(int).result()  # it has started
        torch.set_num_threads(threads)  # what the thread sets for itself, threads that start later would take over
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)
        self._thread, self._coming = None, {}

    def __call__(self, step: int) -> T:
        """What was prepared for a step."""
        if self._thread is None:
            return self._prepare(step)
        for ahead in range(step, min(step + DEPTH, self._stop - 1) + 1):
            if ahead not in self._coming:
                self._coming[ahead] = self._thread.submit(self._prepare, ahead)
        return self._coming.pop(step).result()
