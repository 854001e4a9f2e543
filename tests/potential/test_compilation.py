"""What machine code is made, and which is used again."""

import os
import runpy
import shutil
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("numba", reason="the loops are compiled with numba")

from llvmlite.binding import get_host_cpu_features

from ase_deeppot.potential.kernels import compilation

AVX512 = get_host_cpu_features().get("avx512f", False)
INNER = "from loops.compilation import compiled\n\n@compiled\ndef inner(x):\n    return x + {}\n"
OUTER = ("from loops.compilation import compiled\nfrom loops.inner import inner\n\n"
         "@compiled\ndef outer(x):\n    return inner(x)\n")
TOTAL = ("from ase_deeppot.potential.kernels.compilation import compiled\n\n@compiled\ndef total(x):\n    found = 0.0\n"
         "    for k in range(len(x)):\n        found += x[k] * x[k]\n    return found\n")


def test_a_function_is_compiled_anew_where_one_that_it_calls_has_changed(tmp_path):
    folder = tmp_path / "loops"
    folder.mkdir()
    shutil.copy(compilation.__file__, folder / "compilation.py")
    (folder / "__init__.py").touch()
    (folder / "outer.py").write_text(OUTER)
    code = "from loops.outer import outer; print(outer(1), sum(outer.stats.cache_hits.values()))"

    def run():
        return subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True,
                              env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}).stdout.split()

    (folder / "inner.py").write_text(INNER.format(1))
    assert [run(), run()] == [["2", "0"], ["2", "1"]]
    (folder / "inner.py").write_text(INNER.format(5))
    assert [run(), run()] == [["6", "0"], ["6", "1"]]


@pytest.mark.skipif(not AVX512, reason="needs a processor with vectors of 64 bytes (AVX-512)")
def test_vectors_are_as_wide_as_they_can_be(tmp_path):
    """LLVM's default for Intel's processors is half of that."""
    (tmp_path / "total.py").write_text(TOTAL)  # a file that nothing was compiled of before
    total = runpy.run_path(str(tmp_path / "total.py"))["total"]
    assert total(np.arange(5.0)) == 30.0
    (code,) = total.inspect_asm().values()
    assert "zmm" in code
