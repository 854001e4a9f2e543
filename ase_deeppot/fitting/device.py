"""What training asks of the device and of the system's memory before it starts."""

import torch

from ase_deeppot.errors import ConfigError

LARGEST_ADAPTED_TO = 31 << 20  # bytes; glibc's limit is 32 MiB


def keep_freed_memory() -> None:
    """Make glibc keep the memory that a step frees for the next one: it adapts to the largest piece freed so far.

    Without this, some processes get megabytes from the system at each step anew, and take a sixth longer.
    """
    torch.empty(LARGEST_ADAPTED_TO, dtype=torch.uint8)


def check_device(name: str) -> None:
    """Refuse a device that PyTorch does not know or cannot use here.

    Raises
    ------
    ConfigError
        With what PyTorch says of it.
    """
    try:
        torch.ones(1, dtype=torch.float64, device=name).item()
    except (RuntimeError, AssertionError, TypeError) as error:  # PyTorch raises each of them
        reason = str(error).split("\n")[0][:120]
        raise ConfigError(f"expected a device that works here for training.device, got {name!r}: {reason}") from error
