"""The frame of the command line: usage, warnings, errors and interrupts."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from runs import deeppot

from ase_deeppot import cli
from ase_deeppot.cli import models
from ase_deeppot.version import __version__


def test_version_and_help(capsys):
    for arguments, text in ((["--version"], f"ase-deeppot {__version__}\n"), (["--help"], "COMMAND"),
                            (["train", "--help"], "--restart"), (["evaluate", "--help"], "--plot")):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        assert caught.value.code == 0
        assert text in capsys.readouterr().out


@pytest.mark.parametrize("own", [None, "7"])
def test_threads_that_wait_are_told_to_sleep(own):
    """Before torch is there, which reads it once; a user's own wish counts."""
    code = ("import os, sys; from ase_deeppot.cli import main; assert 'torch' not in sys.modules; main(['schema']); "
            "print(os.environ['GOMP_SPINCOUNT'])")
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    environment |= {"GOMP_SPINCOUNT": own} if own else {}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines()[-1] == (own or "1000")


@pytest.mark.parametrize("arguments", [[], ["trian"], ["train"], ["info", "a", "b"], ["train", "x", "--restrat"]])
def test_wrong_usage(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: deeppot" in capsys.readouterr().err


def test_as_a_program():
    program = Path(sys.executable).with_name("deeppot")
    command = [program] if program.exists() else [sys.executable, "-m", "ase_deeppot.cli"]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"ase-deeppot {__version__}\n", "")


def test_warnings_are_lines_for_users(capsys, monkeypatch):
    def warn(_):
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("cache file x is damaged", stacklevel=2)
    monkeypatch.setattr(models, "_info", warn)
    assert deeppot(capsys, "info", "x") == (0, "", "deeppot: warning: cache file x is damaged\n")


@pytest.mark.parametrize(("error", "line"), [
    (OSError(28, "No space left on device"), "deeppot: No space left on device\n"),
    (OSError(13, "Permission denied", "a/b.png"), "deeppot: a/b.png: Permission denied\n"),
    (OSError("odd"), "deeppot: odd\n"),
])
def test_system_errors_are_a_line(capsys, monkeypatch, error, line):
    def fail(_):
        raise error
    monkeypatch.setattr(models, "_info", fail)
    assert deeppot(capsys, "info", "x") == (2, "", line)


def test_an_interrupt_outside_training(capsys, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt
    monkeypatch.setattr(models, "_info", interrupt)
    assert deeppot(capsys, "info", "x") == (130, "", "deeppot: interrupted\n")
