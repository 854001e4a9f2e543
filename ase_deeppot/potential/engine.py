"""Run a model on structures: arrays in, energies, forces and virials out, in bounded memory."""

from typing import Optional, Protocol

import numpy as np
import torch

from ase_deeppot.compiler import compilable
from ase_deeppot.neighbors import Pairs
from ase_deeppot.potential.archive import Model
from ase_deeppot.potential.folding import fold
from ase_deeppot.potential.in_torch import TorchEngine
from ase_deeppot.potential.prediction import Prediction


class Engine(Protocol):
    """Anything that evaluates structures."""

    def evaluate(self, types: np.ndarray, pairs: Pairs) -> Prediction:
        """Energies, forces and virials of a structure.

        Parameters
        ----------
        types : ndarray, [N] int64
            Species, indices into the model's type map.
        pairs : Pairs
            Within the model's cutoff, ascending in ``i``.
        """
        ...


def engine(model: Model, device: str = "cpu", compiled: Optional[bool] = None) -> Engine:
    """Make a model ready to run.

    Parameters
    ----------
    device : str
        Where: ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
    compiled : bool, optional
        In compiled loops, on a CPU with numba; by default wherever that is possible. Otherwise in torch.
    """
    if compiled is None:
        compiled = torch.device(device).type == "cpu" and compilable()
    potential = fold(model.module)
    if not compiled:
        return TorchEngine(potential.to(device), torch.device(device))
    from ase_deeppot.potential.compiled import CompiledEngine

    return CompiledEngine(potential)
