"""Whether the kernels can be used."""

import importlib.util
import warnings
from functools import cache

import torch

from ase_deeppot.potential.harmonics import WRITTEN_OUT
from ase_deeppot.potential.moments import Basis


def kernels_for(device: torch.device, l_max: int = 1) -> bool:
    """Whether this is a GPU for which kernels can be made; a warning says, once, if it is one for which they cannot.

    Angular orders above those that are written out have none.
    """
    return device.type == "cuda" and l_max <= WRITTEN_OUT and can_be_made(device)


@cache
def can_be_made(device: torch.device) -> bool:
    """Whether Triton is installed, as it is with torch's builds for CUDA, and finds the C compiler that it needs."""
    if importlib.util.find_spec("triton") is None:
        return False
    try:
        _try(device)
    except Exception as error:  # whatever Triton, the driver or the compiler say
        warnings.warn(f"kernels for the GPU cannot be made, so that all is done in torch, more slowly: {error}",
                      RuntimeWarning, stacklevel=2)
        return False
    return True


def _try(device: torch.device) -> None:
    """One atom without neighbours."""
    from ase_deeppot.potential.on_gpu.environments import Environments
    from ase_deeppot.potential.on_gpu.moments import moments

    first, none = torch.zeros(2, dtype=torch.int64, device=device), torch.zeros(0, dtype=torch.int32, device=device)
    alone = Environments(first, none, first[:1].int(), torch.zeros(0, 3, dtype=torch.float64, device=device))
    moments(Basis(2, 1.0, 0.0, 1.0, 2.0), 1, alone, torch.float64)
