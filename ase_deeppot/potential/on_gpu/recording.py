"""Kernels that are recorded once and launched together from then on, as a CUDA graph."""

from contextlib import nullcontext
from typing import Callable, ContextManager, Optional

import torch
from torch import Tensor

ROOM = 8  # the pairs may become more by one part in so many, before they are recorded anew
WARM_UP = 2  # runs before the recording, in which libraries take what memory they need


class Recorded:
    """A function of the pairs of certain atoms, and their parameters, on a GPU.

    A recording knows addresses, not values: what is passed in is copied to the same place each time, where there is
    room for more pairs than there are. Those left over start from no atom, beyond the last one.

    Parameters
    ----------
    function : callable
        Of i [E] int32, j [E] int32, vectors [E, 3] float64 and parameters [N, k] float64 or none; must not wait for
        the GPU, nor do anything that depends on the values.
    i, j, vectors, parameters
        As it takes them.
    """

    def __init__(self, function: Callable[..., Tensor], i: Tensor, j: Tensor, vectors: Tensor,
                 parameters: Optional[Tensor]) -> None:
        room = len(i) + len(i) // ROOM + 1
        self._i, self._j, self._vectors = i.new_empty(room), j.new_zeros(room), vectors.new_ones(room, 3)
        self._parameters = None if parameters is None else parameters.clone()
        self._graph = torch.cuda.CUDAGraph()
        self._fill(i, j, vectors, parameters)
        arrays = self._i, self._j, self._vectors, self._parameters
        with torch.cuda.stream(_beside()):
            for _ in range(WARM_UP):
                function(*arrays)
        torch.cuda.synchronize()
        with torch.cuda.graph(self._graph):
            self._found = function(*arrays)

    def takes(self, i: Tensor, j: Tensor, vectors: Tensor, parameters: Optional[Tensor]) -> bool:
        """Whether there is room for so many pairs."""
        return len(i) <= len(self._i) and (parameters is None) == (self._parameters is None)

    def __call__(self, i: Tensor, j: Tensor, vectors: Tensor, parameters: Optional[Tensor]) -> Tensor:
        """What the function returns; its place is taken by the next call's."""
        self._fill(i, j, vectors, parameters)
        self._graph.replay()
        return self._found

    def _fill(self, i: Tensor, j: Tensor, vectors: Tensor, parameters: Optional[Tensor]) -> None:
        n = len(i)
        self._i[:n], self._j[:n], self._vectors[:n] = i, j, vectors
        self._i[n:] = torch.iinfo(i.dtype).max
        if self._parameters is not None and parameters is not None:
            self._parameters.copy_(parameters)


def current(device: torch.device) -> ContextManager[object]:
    """Context in which kernels go to this device, which the interpreter's is not."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _beside() -> torch.cuda.Stream:
    """A stream that begins when what was launched so far is done; recordings are not made on the usual one."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    return stream
