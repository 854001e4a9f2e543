"""Steps made ready by a thread: in order, each once, and with nothing left behind."""

import threading
import time

import pytest
import torch

from ase_deeppot.fitting.prefetch import DEPTH, Prefetch


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("deeppot-prefetch")]


def test_each_step_is_made_once_and_ahead():
    made = []

    def prepare(step):
        made.append(step)
        return 10 * step
    with Prefetch(prepare, 9) as inputs:
        assert inputs(3) == 30
        deadline = time.monotonic() + 10
        while len(made) <= DEPTH and time.monotonic() < deadline:
            time.sleep(0.001)
        assert made == list(range(3, 4 + DEPTH))
        assert [inputs(step) for step in range(4, 9)] == [10 * step for step in range(4, 9)]
    assert made == list(range(3, 9))
    assert threads() == []


def test_without_its_context_there_is_no_thread():
    inputs = Prefetch(lambda step: threading.current_thread(), 5)
    assert inputs(0) is threading.main_thread()
    with inputs:
        assert inputs(0) is not threading.main_thread()
    assert inputs(1) is threading.main_thread()


def test_an_error_comes_with_its_step():
    def prepare(step):
        if step == 2:
            raise ValueError("of step 2")
        return step
    with Prefetch(prepare, 5) as inputs:
        assert (inputs(0), inputs(1)) == (0, 1)
        with pytest.raises(ValueError, match="of step 2"):
            inputs(2)
    assert threads() == []


def test_leaving_waits_for_the_thread():
    done = threading.Event()

    def prepare(step):
        if step:
            time.sleep(0.05)
            done.set()
        return step
    with Prefetch(prepare, 5) as inputs:
        inputs(0)
        while not inputs._coming[1].running() and not done.is_set():
            time.sleep(0.001)
    assert done.is_set()
    assert threads() == []


def test_torch_keeps_its_threads():
    before = torch.get_num_threads()
    with Prefetch(lambda step: torch.get_num_threads(), 1) as inputs:
        assert inputs(0) == 1
        assert torch.get_num_threads() == before
