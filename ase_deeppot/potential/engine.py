"""Run a model on structures: arrays in, energies, forces and virials out, in bounded memory."""

import threading
from typing import Any, Optional, Protocol, Tuple

import numpy as np
import torch

from ase_deeppot.compiler import compilable
from ase_deeppot.neighbors import Pairs, VerletList, neighbor_pairs
from ase_deeppot.potential.archive import Model
from ase_deeppot.potential.folded import FoldedPotential
from ase_deeppot.potential.folded_local_frame import FoldedLocalFrames
from ase_deeppot.potential.folded_pairwise import PairwisePotential
from ase_deeppot.potential.folding import fold
from ase_deeppot.potential.in_torch import TorchEngine
from ase_deeppot.potential.moments import Basis
from ase_deeppot.potential.neighbor_counts import neighbor_counts
from ase_deeppot.potential.on_gpu.available import kernels_for
from ase_deeppot.potential.prediction import Prediction

PATIENCE = 1.5  # s, to wait for compiled loops: long enough to read them from numba's cache, too short to make them


class Engine(Protocol):
    """Anything that evaluates structures."""

    def evaluate(self, types: np.ndarray, pairs: Any, centres: Optional[int] = None,
                 parameters: Optional[np.ndarray] = None) -> Prediction:
        """Energies, forces and virials of a structure.

        Parameters
        ----------
        types : ndarray, [N] int64
            Species, indices into the model's type map.
        pairs : Pairs
            Within the model's cutoff, ascending in ``i``; those of `neighbor_list`, or arrays.
        centres : int, optional
            How many of the atoms have an energy, all by default: the first ones. The others are their neighbours
            only, as the ghost atoms of another engine are; no pair starts from them, and their energies are zero.
        parameters : ndarray, [N, k] float64, optional
            Of the frame and then of each atom, for a model that takes them.
        """
        ...


def engine(model: Model, device: str = "cpu", compiled: Optional[bool] = None,
           tolerance: Optional[float] = None) -> Engine:
    """Make a model ready to run.

    Parameters
    ----------
    device : str
        Where: ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
    compiled : bool, optional
        In compiled loops (a CPU and numba, a GPU and Triton) or in torch. By default in compiled ones wherever that is
        possible; on a CPU, the first time in an installation, when they have yet to be compiled, in torch until that
        is done. For local frames, and embedding nets that are evaluated for every pair, there are none, and for
        angular orders above 3 none on a GPU.
    tolerance : float, optional
        See ``folding.fold``.
    """
    potential = fold(model.module, tolerance)
    place = torch.device(device)
    if compiled is False or isinstance(potential, (FoldedLocalFrames, PairwisePotential)):
        return TorchEngine(potential.to(place), place)
    if kernels_for(place, max(Basis(*basis).l_max for basis in potential.bases)):
        return _on_gpu(potential, place)
    if place.type != "cpu" or not compilable():
        return TorchEngine(potential.to(place), place)
    return _compiled(potential) if compiled else CompilingEngine(potential)


def neighbor_list(cutoff: float, skin: float, device: str = "cpu") -> VerletList:
    """A neighbour list that searches where the model runs."""
    place = torch.device(device)
    if place.type == "cpu":
        return VerletList(cutoff, skin)
    from ase_deeppot.potential.on_gpu.pairs import backend

    return VerletList(cutoff, skin, backend(place))


def _on_gpu(potential: FoldedPotential, place: torch.device) -> Engine:
    """Kernels are made here, the first time, and not in a user's first step."""
    from ase_deeppot.potential.on_gpu.engine import GpuEngine

    ready = GpuEngine(potential.to(place), place)
    ready.evaluate(*_dimer(len(potential.species)), parameters=_any_parameters(potential))
    return ready


def _compiled(potential: FoldedPotential) -> Engine:
    from ase_deeppot.potential.compiled import CompiledEngine

    return CompiledEngine(potential)


class CompilingEngine:
    """In torch, until the compiled loops are there: at once if numba has kept them, else after some seconds."""

    def __init__(self, potential: FoldedPotential) -> None:
        self._engine: Engine = TorchEngine(potential, torch.device("cpu"))
        # Not a daemon: a script that ends early waits, and leaves compiled loops to the next one.
        thread = threading.Thread(target=self._compile, args=(potential,), name="deeppot-compile")
        thread.start()
        thread.join(PATIENCE)

    def _compile(self, potential: FoldedPotential) -> None:
        types, pairs = _dimer(len(potential.species))
        neighbor_counts(types, pairs, len(potential.species))  # what else a step has compiled
        ready = _compiled(potential)
        ready.evaluate(types, pairs, parameters=_any_parameters(potential))
        self._engine = ready

    def evaluate(self, types: np.ndarray, pairs: Any, centres: Optional[int] = None,
                 parameters: Optional[np.ndarray] = None) -> Prediction:
        """See :class:`Engine`."""
        return self._engine.evaluate(types, pairs, centres, parameters)


def _any_parameters(potential: FoldedPotential) -> Optional[np.ndarray]:
    """Of a dimer, where the model takes parameters."""
    mean = potential.parameter_mean.cpu().numpy()
    return np.tile(mean, (2, 1)) if len(mean) else None


def _dimer(n_types: int) -> Tuple[np.ndarray, Pairs]:
    """A structure that every loop has something to do in."""
    positions = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    pairs = neighbor_pairs(positions, np.zeros((3, 3)), np.zeros(3, bool), 2.0)
    return np.array([0, n_types - 1]), pairs
