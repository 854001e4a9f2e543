"""Parameters of the frame and of the atoms: inputs of the fitting net beside the descriptor."""

from typing import Optional

import torch
from torch import Tensor

from ase_deeppot.errors import ModelFileError
from ase_deeppot.potential.config import FittingNetConfig


def normalised(values: Optional[Tensor], mean: Tensor, inverse: Tensor, n_atoms: int,
               dtype: torch.dtype) -> Optional[Tensor]:
    """``(values - mean) * inverse``, [N, k], as the nets take them; None for a model that takes none."""
    if values is None and mean.shape[0] == 0:
        return None
    if values is None or values.shape[0] != n_atoms or values.shape[1] != mean.shape[0]:
        got = "none" if values is None else str(list(values.shape))
        raise ValueError(f"expected parameters [{n_atoms}, {mean.shape[0]}], got {got}")
    place = values.device
    return ((values.to(torch.float64) - mean.to(place)) * inverse.to(place)).to(dtype)


def describe(config: FittingNetConfig) -> str:
    """``'2 fparam, 1 aparam'``, by the names that they have in DeePMD-kit; empty for a model that takes none."""
    numbers = ((config.frame_parameters, "fparam"), (config.atom_parameters, "aparam"))
    return ", ".join(f"{n} {name}" for n, name in numbers if n)


def refuse(config: FittingNetConfig, where: str) -> None:
    """Refuse a model that takes parameters where nobody gives them.

    Raises
    ------
    ModelFileError
        With what it takes, and ``where`` it cannot be used.
    """
    if config.parameters:
        raise ModelFileError(f"a model that takes parameters beside the structure ({describe(config)}) cannot be used "
                             f"{where}, only in DeepPotCalculator, which has them from atoms.info and atoms.arrays")
