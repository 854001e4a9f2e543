"""The model for LAMMPS's ``pair_style mliap unified``, in builds that have Python in their ML-IAP package."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ase_deeppot import resources
from ase_deeppot.files import write_atomically
from ase_deeppot.interop import from_bytes
from ase_deeppot.potential.archive import read_model
from ase_deeppot.potential.folding import fold
from ase_deeppot.potential.parameters import refuse


class UnifiedPotential:
    """What LAMMPS unpickles and calls: neighbours of LAMMPS in, energies and pair forces out.

    Parameters
    ----------
    model : str or Path
        A model file, or the name of a bundled model.
    device : str
        Where the model runs.

    Attributes
    ----------
    element_types : list of str
        The model's elements; ``pair_coeff * * O H`` chooses among them.
    rcutfac : float
        Half the cutoff, as LAMMPS wants it, A.
    """

    def __init__(self, model: str | Path, device: str = "cpu") -> None:
        self.content, self.name, self.device = read_model(resources.model_path(model)), str(model), device
        self.interface, self.ndescriptors, self.nparams = None, 1, 1
        self._load()
        self.element_types = list(self._card.type_map)
        self.rcutfac = self._card.rcut / 2

    def write(self, path: str | Path) -> None:
        """Write the file that ``pair_style mliap unified FILE.pkl 0`` reads."""
        write_atomically(Path(path), pickle.dumps(self))

    def compute_forces(self, data: Any) -> None:
        """Called by LAMMPS every step; ``data.rij`` go from atom i to atom j, and not beyond the cutoff."""
        i, types = np.asarray(data.pair_i, np.int64), np.asarray(data.elems, np.int64)
        order = np.argsort(i, kind="stable")
        arguments = (types[: data.nlocal], i[order], types[np.asarray(data.pair_j)[order]],
                     np.asarray(data.rij, np.float64)[order])
        with torch.inference_mode():
            energies, gradient = (part.cpu().numpy() for part in self._potential(
                *(torch.from_numpy(array).to(self.device) for array in arguments)))
        pair_forces = np.empty_like(gradient)
        pair_forces[order] = gradient  # dE/drij: added to atom i, taken from atom j
        data.eatoms, data.energy = energies, float(energies.sum())
        data.update_pair_forces(pair_forces)

    def compute_descriptors(self, data: Any) -> None:
        """Nothing: everything is done in `compute_forces`."""

    def compute_gradients(self, data: Any) -> None:
        """Nothing: everything is done in `compute_forces`."""

    def _load(self) -> None:
        model = from_bytes(self.content, self.name)
        refuse(model.card.config.fitting_net, "in LAMMPS")
        self._card, self._potential = model.card, fold(model.module).to(self.device)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_card", "_potential", "interface")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, interface=None)
        self._load()
