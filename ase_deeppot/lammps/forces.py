"""One step: LAMMPS's atoms in, forces, energies and virials out."""

import ctypes
import os
import sys
import time
import traceback
from typing import Any

import numpy as np

from ase_deeppot.errors import DeepPotError, StructureError
from ase_deeppot.lammps.ghosts import GhostReturn
from ase_deeppot.neighbors import HaloList
from ase_deeppot.potential.card import ModelCard
from ase_deeppot.potential.domain import Limits, extrapolation
from ase_deeppot.potential.engine import Engine
from ase_deeppot.potential.prediction import symmetric

VOIGT = ((0, 1, 2, 0, 0, 1), (0, 1, 2, 1, 2, 2))  # LAMMPS's order: xx yy zz xy xz yz
SKIN = 1.0  # A, of our list; when LAMMPS moves atoms between processes ours is made anew in any case

GRACE = 1.0  # s, for mpirun to pass on what was printed: what it has not read when a process aborts may be lost


class Forces:
    """What the fix ``external`` calls in every process.

    Parameters
    ----------
    lmp : lammps.lammps
        LAMMPS.
    fix : str
        ID of its fix.
    engine : Engine
        The model.
    card : ModelCard
        What it says of itself.
    limits : Limits
        Where it extrapolates.
    types : ndarray, [1 + ntypes] int64
        The model's type of each atom type; those of LAMMPS count from 1.
    """

    def __init__(self, lmp: Any, fix: str, engine: Engine, card: ModelCard, limits: Limits,
                 types: np.ndarray) -> None:
        self._lmp, self._fix, self._engine, self._types = lmp, fix, engine, types
        self._comm, self._card, self._limits, self._warned = lmp.get_mpi_comm(), card, limits, False
        self._neighbors, self._ghosts = HaloList(card.rcut, SKIN), GhostReturn(self._comm)

    def __call__(self, _: Any, step: int, own: int, tags: np.ndarray, x: np.ndarray, forces: np.ndarray) -> None:
        """Fill in the forces [own, 3] of the atoms of this process."""
        try:
            self._step(step, own, forces)
        except DeepPotError as error:  # in all processes, at the same step
            if self._comm.rank == 0:
                print(f"deeppot: step {step}: {error}", file=sys.stderr, flush=True)
            self._comm.Barrier()
            self._end()
        except Exception:  # no exception finds its way through LAMMPS
            print(f"deeppot: step {step}: {traceback.format_exc()}", file=sys.stderr, flush=True)
            self._end()

    def _end(self) -> None:
        """End all processes: the commands that follow in the input must not go on with wrong forces."""
        time.sleep(GRACE)
        self._comm.Abort(1)
        os._exit(1)  # the former may return before the end

    def _step(self, step: int, own: int, forces: np.ndarray) -> None:
        """Pairs around own atoms, the model, and what it gave to ghosts to their owners."""
        count = self._lmp.extract_setting("nall")
        x, types, tags = (self._lmp.numpy.extract_atom(name, nelem=count)[:count] for name in ("x", "type", "id"))
        pairs = self._neighbors.update(x.reshape(-1, 3), own)
        prediction = self._engine.evaluate(self._types[types], pairs, own)
        self._warn_outside_domain(step, prediction.closest)
        virials = symmetric(prediction.virials)[:, *VOIGT]
        values = self._ghosts.total(tags, own, np.concatenate([prediction.forces, virials], axis=1))
        forces[:] = values[:, :3]
        self._report(prediction.energies[:own], np.ascontiguousarray(values[:, 3:]), bool(np.isfinite(forces).all()))

    def _warn_outside_domain(self, step: int, closest: np.ndarray) -> None:
        """Say, once in each process, when two atoms are much closer than any such pair of the training data."""
        text = "" if self._warned else extrapolation(self._card, closest, self._limits)
        if text:
            self._warned = True
            print(f"deeppot: warning: step {step}: {text}", file=sys.stderr, flush=True)

    def _report(self, energies: np.ndarray, virials: np.ndarray, finite: bool) -> None:
        """Energies and virials, of each atom and of all."""
        totals = self._comm.allreduce(np.array([energies.sum(), *virials.sum(axis=0), 0.0 if finite else np.nan]))
        if not np.isfinite(totals).all():
            raise StructureError("expected finite energies and forces, got others: atoms are at the same place or far "
                                 "outside the training data; try a smaller timestep, or minimize first")
        self._lmp.fix_external_set_energy_global(self._fix, totals[0])
        self._lmp.fix_external_set_virial_global(self._fix, totals[1:7])
        # The library's own functions: LAMMPS's Python wrappers copy one number after the other.
        library, double = self._lmp.lib, ctypes.POINTER(ctypes.c_double)
        arguments = self._lmp.lmp, self._fix.encode()
        library.lammps_fix_external_set_energy_peratom(*arguments, energies.ctypes.data_as(double))
        rows = virials.ctypes.data + virials.strides[0] * np.arange(max(len(virials), 1), dtype=np.uintp)
        library.lammps_fix_external_set_virial_peratom(*arguments, rows.ctypes.data_as(ctypes.POINTER(double)))
