"""Whether loops can be compiled: numba is an extra, found when installed."""

import functools
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@functools.cache
def compilable() -> bool:
    """Whether numba is installed."""
    return importlib.util.find_spec("numba") is not None


@contextmanager
def told_of_compiling(tell: Callable[[], object]) -> Iterator[None]:
    """Call ``tell``, once, when numba compiles anything within this context, which it keeps for later processes."""
    if not compilable():
        yield
        return
    from numba.core import event

    class First(event.Listener):
        def __init__(self) -> None:
            self.told = False

        def on_start(self, _: event.Event) -> None:
            if not self.told:
                self.told = True
                tell()

        def on_end(self, _: event.Event) -> None:
            pass

    with event.install_listener("numba:compile", First()):
        yield
