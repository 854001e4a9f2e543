"""How the loops are compiled: with numba, once for an installation."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import PassManager, register_pass
from numba.core.lowering import Lower
from numba.core.typed_passes import NativeLowering

WIDE = '"prefer-vector-width"="512"'
FAST = {"reassoc", "contract", "nsz", "arcp"}  # nothing is assumed finite: NaN must come through
SOURCES = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py")))).digest()


class _Cache(FunctionCache):
    """What was compiled of these very files.

    numba itself compiles a function anew where its own file has changed, not where one has that it calls.
    """

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        return (*super()._index_key(sig, codegen), SOURCES)


class _Function(Lower):
    """Code of a function, for vectors as wide as the processor has them: LLVM takes half of that on Intel's."""

    def setup_function(self, fndesc: Any) -> None:
        super().setup_function(fndesc)
        set.add(self.function.attributes, WIDE)  # llvmlite itself adds only what it knows


@register_pass(mutates_CFG=True, analysis_only=False)
class _Lowering(NativeLowering):
    _name = "wide_native_lowering"

    @property
    def lowering_class(self) -> type[Lower]:
        return _Function


class _Compiler(CompilerBase):
    """numba's own, but for the vectors."""

    def define_pipelines(self) -> list[PassManager]:
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.passes = [(_Lowering if step is NativeLowering else step, text) for step, text in passes.passes]
        passes.finalize()
        return [passes]


def compiled(function: Callable[..., Any]) -> Any:
    """The function in machine code."""
    loops = njit(pipeline_class=_Compiler, error_model="numpy", fastmath=FAST, nogil=True)(function)
    loops._cache = _Cache(function)  # type: ignore[attr-defined]  # as `cache=True` does with its own
    return loops
