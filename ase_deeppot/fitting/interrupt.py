"""An interrupt that lets the step at hand finish."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class InterruptFlag:
    """Becomes true when the user interrupts."""

    def __init__(self) -> None:
        self.raised = False

    def __bool__(self) -> bool:
        return self.raised

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """Note a first interrupt; a second one ends the program the usual way."""
        if self.raised:
            raise KeyboardInterrupt
        self.raised = True


@contextmanager
def interrupt_flag() -> Iterator[InterruptFlag]:
    """Within this context a first SIGINT or SIGTERM sets a flag instead of ending the program (main thread only)."""
    flag = InterruptFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before = {number: signal.signal(number, flag) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
