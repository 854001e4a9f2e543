"""What a user is told when loops are compiled."""

import importlib.util

import pytest

from ase_deeppot.compiler import told_of_compiling

pytest.importorskip("numba", reason="needs numba")

LOOPS = """
from numba import njit

@njit(cache=True)
def double(x):
    return 2 * x
"""


def loops(folder):
    """A module of that text, imported anew: what was compiled of it before is on disk only."""
    file = folder / "loops.py"
    if not file.exists():
        file.write_text(LOOPS)
    spec = importlib.util.spec_from_file_location("loops", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_compiling_is_told_once(tmp_path):
    told = []
    with told_of_compiling(lambda: told.append(1)):
        module = loops(tmp_path)
        assert told == []
        module.double(1)
        module.double(1.5)
    assert told == [1]
    loops(tmp_path).double(1j)
    assert told == [1]  # not after it


def test_what_was_compiled_before_is_not_told(tmp_path):
    loops(tmp_path).double(1)
    told = []
    with told_of_compiling(lambda: told.append(1)):
        assert loops(tmp_path).double(2) == 4
    assert told == []
