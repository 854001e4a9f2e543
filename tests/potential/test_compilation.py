"""Which machine code is used again."""

import os
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("numba", reason="the loops are compiled with numba")

from ase_deeppot.potential.kernels import compilation

INNER = "from loops.compilation import compiled\n\n@compiled\ndef inner(x):\n    return x + {}\n"
OUTER = ("from loops.compilation import compiled\nfrom loops.inner import inner\n\n"
         "@compiled\ndef outer(x):\n    return inner(x)\n")


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
