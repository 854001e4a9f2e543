"""Whether loops can be compiled: numba is an extra, found when installed."""

import functools
import importlib.util


@functools.cache
def compilable() -> bool:
    """Whether numba is installed."""
    return importlib.util.find_spec("numba") is not None
