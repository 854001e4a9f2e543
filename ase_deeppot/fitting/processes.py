"""Several processes that train one model, each on its share of every batch.

``torchrun`` starts them, and tells each one by its environment which it is. All hold the same weights: each adds up
the gradients of all and makes the same step.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, distributed, nn

from ase_deeppot.errors import ConfigError, DeepPotError

# What torchrun sets.
ENVIRONMENT = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
# The others wait while the first one reads and writes. A process that dies is noticed at once.
LONGEST_WAIT = timedelta(days=2)


class ProcessError(DeepPotError, RuntimeError):
    """Another process of the run is gone."""


class Processes(NamedTuple):
    """The processes of a run, seen from one of them; alone, nothing is sent."""

    rank: int = 0
    number: int = 1
    local_rank: int = 0  # among those on this computer

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.rank == 0

    def share(self, indices: np.ndarray) -> np.ndarray:
        """What this process takes of some frames, possibly nothing."""
        return indices[self.rank :: self.number]

    def device(self, name: str) -> str:
        """The device of this process: ``cuda`` is another GPU for each process on a computer."""
        if self.number > 1 and name.startswith("cuda:"):
            raise ConfigError(f"expected 'cuda' for training.device with several processes, got {name!r}: each takes a "
                              "GPU of its own")
        return f"cuda:{self.local_rank}" if self.number > 1 and name == "cuda" else name

    def any(self, flag: bool) -> bool:
        """Whether it is so for any process."""
        if self.number == 1:
            return flag
        total = torch.tensor([int(flag)])
        _together(lambda: distributed.all_reduce(total))
        return bool(total.item())

    @contextmanager
    def first_goes_ahead(self) -> Iterator[None]:
        """The first process does what is within this context, then the others do."""
        if not self.first:
            self.any(False)
        yield
        if self.first:
            self.any(False)

    def same(self, tensors: Sequence[Tensor]) -> None:
        """Give all processes the values of the first."""
        for tensor in tensors if self.number > 1 else ():
            _together(lambda tensor=tensor: distributed.broadcast(tensor, 0))  # type: ignore[misc]

    def fill_in(self, tensors: Sequence[Tensor]) -> None:
        """Complete tensors in which each process has written its part, and left zeros elsewhere."""
        for tensor in tensors if self.number > 1 else ():
            _together(lambda tensor=tensor: distributed.all_reduce(tensor))  # type: ignore[misc]

    def add_up(self, parameters: Sequence[nn.Parameter], sums: Tensor) -> Tensor:
        """Replace each gradient by its sum over the processes; the sum of ``sums`` [n], float64, is returned.

        All travel in one flat buffer, in double precision. A parameter that has no gradient in any process keeps none.
        """
        if self.number == 1:
            return sums
        present = sums.new_tensor([parameter.grad is not None for parameter in parameters])
        gradients = [parameter.new_zeros(parameter.numel()) if parameter.grad is None else parameter.grad.reshape(-1)
                     for parameter in parameters]
        buffer = torch.cat([sums, present, *(gradient.to(sums) for gradient in gradients)])
        _together(lambda: distributed.all_reduce(buffer))
        sums, present, *added = buffer.split([len(sums), len(present), *map(len, gradients)])
        for parameter, gradient, owners in zip(parameters, added, present.tolist(), strict=True):
            parameter.grad = gradient.view_as(parameter).to(parameter.dtype) if owners else None
        return sums


def started() -> Processes:
    """The processes that torchrun started, or this one alone; not connected."""
    if not all(name in os.environ for name in ENVIRONMENT):
        return Processes()
    return Processes(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """The processes that torchrun started, or this one alone; connected within this context."""
    processes = started()
    if processes.number == 1:
        yield Processes()
        return
    on_gpu = processes.device(device).startswith("cuda")
    if on_gpu:
        _choose_gpu(processes.local_rank)
    _import_what_keeps_the_group()
    _together(lambda: distributed.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=LONGEST_WAIT))
    try:
        yield processes
        processes.any(False)  # all leave together: the first one is the last to be done
    finally:
        distributed.destroy_process_group()


def _import_what_keeps_the_group() -> None:
    """Load PyTorch's functional collectives while there is no group.

    PyTorch loads them on the way to its optimisers. Loaded later, they keep the group of that moment as the default of
    their arguments, so its threads outlive it, and abort the process if it ends while they let go of a tensor.
    """
    import torch.distributed.nn.functional  # noqa: F401


def _choose_gpu(index: int) -> None:
    count = torch.cuda.device_count()
    if index >= count:
        raise ConfigError(f"expected a GPU for each process on this computer, got {count} for {index + 1} or more")
    torch.cuda.set_device(index)


def _together(operation: Callable[[], object]) -> None:
    try:
        operation()
    except RuntimeError as error:  # of PyTorch, by which it tells all that goes wrong
        reason = re.sub(r"^\[\S*\] ", "", str(error).strip()).split("\n")[0].split(". ")[0][:120]
        raise ProcessError(f"another process of this run is gone ({reason}); restart goes on from the last "
                           "checkpoint") from error
