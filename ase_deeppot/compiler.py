"""Whether loops can be compiled: numba is an extra, found when installed."""

import importlib.util


def compilable() -> bool:
    """Whether numba is installed."""
    return importlib.util.find_spec("numba") is not None
