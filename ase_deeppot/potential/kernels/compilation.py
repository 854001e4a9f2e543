"""How the loops are compiled: with numba, once for an installation."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache

FAST = {"reassoc", "contract", "nsz", "arcp"}  # nothing is assumed finite: NaN must come through
SOURCES = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py")))).digest()


class _Cache(FunctionCache):
    """What was compiled of these very files.

    numba itself compiles a function anew where its own file has changed, not where one has that it calls.
    """

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        return (*super()._index_key(sig, codegen), SOURCES)


def compiled(function: Callable[..., Any]) -> Any:
    """The function in machine code."""
    loops = njit(error_model="numpy", fastmath=FAST, nogil=True)(function)
    loops._cache = _Cache(function)  # type: ignore[attr-defined]  # as `cache=True` does with its own
    return loops
