"""Whether kernels can be made is tried, once for a device."""

import importlib

import pytest
import torch

from ase_deeppot.potential.on_gpu.available import can_be_made, kernels_for

pytest.importorskip("triton", reason="needs Triton, which comes with torch for CUDA")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(autouse=True)
def _tried_anew():
    can_be_made.cache_clear()
    yield
    can_be_made.cache_clear()


def test_here_they_can():
    assert can_be_made(DEVICE)


def test_a_cpu_has_other_loops():
    assert not kernels_for(torch.device("cpu"))
    assert not kernels_for(torch.device("cuda"), l_max=4)  # which are written out up to 3


def test_without_a_compiler_a_warning_says_so_once(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(importlib.import_module("ase_deeppot.potential.on_gpu.moments"), "moments", fail)
    with pytest.warns(RuntimeWarning, match="kernels for the GPU cannot be made, .*: Failed to find C compiler"):
        assert not can_be_made(DEVICE)
    assert not can_be_made(DEVICE)


def test_without_triton(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not can_be_made(DEVICE)
