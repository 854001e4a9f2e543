"""Kernels that are recorded once and launched together from then on, as a CUDA graph."""

from contextlib import nullcontext
from typing import Callable, ContextManager, NamedTuple, Optional

import torch
from torch import Tensor

ROOM = 8  # the pairs may become more by one part in so many, before they are recorded anew
WARM_UP = 2  # runs before the recording, in which libraries take what memory they need


class Given(NamedTuple):
    """What changes from one step to the next."""

    i: Tensor  # [E] int32
    j: Tensor  # [E] int32
    vectors: Tensor  # [E, 3] float64
    parameters: Optional[Tensor]  # [N, k] float64, of models that have them


class Recorded:
    """A function of the pairs of certain atoms, and their parameters, on a GPU.

    A recording knows addresses, not values: what is passed in is copied to the same place each time, where there is
    room for more pairs than there are. Those left over start from no atom, beyond the last one.

    Parameters
    ----------
    function : callable
        Must not wait for the GPU, nor do anything that depends on the values.
    given : Given
        To begin with.
    """

    def __init__(self, function: Callable[[Given], Tensor], given: Given) -> None:
        room = len(given.i) + len(given.i) // ROOM + 1
        self._given = Given(given.i.new_empty(room), given.j.new_zeros(room), given.vectors.new_ones(room, 3),
                            None if given.parameters is None else given.parameters.clone())
        self._graph = torch.cuda.CUDAGraph()
        self._fill(given)
        with torch.cuda.stream(_beside()):
            for _ in range(WARM_UP):
                function(self._given)
        torch.cuda.synchronize()
        with torch.cuda.graph(self._graph):
            self._found = function(self._given)

    def takes(self, given: Given) -> bool:
        """Whether there is room for so many pairs."""
        return (len(given.i) <= len(self._given.i)
                and (given.parameters is None) == (self._given.parameters is None))

    def __call__(self, given: Given) -> Tensor:
        """What the function returns; its place is taken by the next call's."""
        self._fill(given)
        self._graph.replay()
        return self._found

    def _fill(self, given: Given) -> None:
        own, n = self._given, len(given.i)
        own.i[:n], own.j[:n], own.vectors[:n] = given.i, given.j, given.vectors
        own.i[n:] = torch.iinfo(own.i.dtype).max
        if own.parameters is not None and given.parameters is not None:
            own.parameters.copy_(given.parameters)


def current(device: torch.device) -> ContextManager[object]:
    """Context in which kernels go to this device, which the interpreter's is not."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _beside() -> torch.cuda.Stream:
    """A stream that begins when what was launched so far is done; recordings are not made on the usual one."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    return stream
