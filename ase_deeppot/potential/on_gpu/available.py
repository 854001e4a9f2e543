"""Whether the kernels can be used."""

import importlib.util

import torch


def kernels_for(device: torch.device) -> bool:
    """Whether this is a GPU, and Triton is installed, as it is with torch's builds for CUDA."""
    return device.type == "cuda" and importlib.util.find_spec("triton") is not None
