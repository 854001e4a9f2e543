"""The machine and the versions that a benchmark ran on, and the environment of the processes it starts."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

WORKERS = Path(__file__).resolve().parent / "workers"
LIST_VERSIONS = """
import importlib.metadata, platform, sys
def version(name):
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{name} not installed"
print(", ".join([f"Python {platform.python_version()}", *map(version, sys.argv[1:])]))
"""


def processor() -> str:
    """Model name, number of CPUs, and how busy they are with other things."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{model}, {os.cpu_count()} CPUs{load}"


def versions(python: str, packages: Sequence[str]) -> str:
    """Versions of packages in the environment of ``python``."""
    command = [python, "-c", LIST_VERSIONS, *packages]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def environment(threads: int, device: str = "cpu") -> dict[str, str]:
    """Variables that hold a new process, and every library in it, to so many threads."""
    names = ("OMP", "MKL", "OPENBLAS", "NUMBA")
    count = {f"{name}_NUM_THREADS": str(threads) for name in names}
    deepmd = {"DP_INTRA_OP_PARALLELISM_THREADS": str(threads), "DP_INTER_OP_PARALLELISM_THREADS": "1"}
    visible = {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}
    return {**os.environ, **count, **deepmd, **visible}


def last_line(text: str) -> str:
    """What a process that failed said last."""
    return (text.strip().splitlines() or ["no message"])[-1]


def ask(worker: str, arguments: Sequence[str], env: dict[str, str]) -> dict:
    """Run a script of ``workers/`` to its end and read the JSON that it prints.

    Raises
    ------
    RuntimeError
        With its last words, if it failed.
    """
    command = [sys.executable, str(WORKERS / worker), *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{worker}: {last_line(done.stderr)}")
    return json.loads(last_line(done.stdout))
