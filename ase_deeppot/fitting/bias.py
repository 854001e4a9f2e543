"""Energies of single atoms, from which the fitting nets count, and how they are brought to other data."""

import numpy as np
import torch

from ase_deeppot.errors import DataError
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.metrics import predict
from ase_deeppot.potential.archive import Model
from ase_deeppot.species import element_of, elements_among

LARGEST_SAMPLE = 1000  # labelled frames that a change of bias looks at, evenly spread


def energy_bias(dataset: Dataset, type_map: tuple[str, ...], method: str) -> np.ndarray:
    """Energy of an atom of each species, [T], eV, from which the fitting nets count.

    ``least_squares``: the best fit of the frames' energies by their composition alone, the smallest where the
    compositions don't tell the species apart. ``isolated_atoms``: the energies of frames with one atom of its element
    that has no neighbour.

    Raises
    ------
    DataError
        If isolated atoms are asked for and an element has none.
    """
    counts, energies = dataset.counts, dataset.frames.energies
    if method == "isolated_atoms":
        return _of_single_atoms(*_single_atoms(dataset, type_map), energies)
    return _least_squares(counts, energies)


def change_bias(model: Model, dataset: Dataset, method: str = "least_squares") -> np.ndarray:
    """Shift a model's energies per species so that they fit the labels of other data; the shift [T], eV.

    The energies of the frames that the model misses are fitted by the composition alone (``least_squares``; the
    smallest shift where compositions don't tell the species apart), or those of single atoms are made exact
    (``isolated_atoms``). Forces stay as they are.

    Raises
    ------
    DataError
        If no frame has an energy, or isolated atoms are asked for and an element has none.
    """
    type_map = model.card.type_map
    counts, energies = dataset.counts, dataset.frames.energies
    labelled = np.flatnonzero(np.isfinite(energies))
    if not len(labelled):
        raise DataError("expected energies in the data to change the energy bias to, got none")
    if method == "isolated_atoms":
        single, atoms = _single_atoms(dataset, type_map)
        missed = np.full(len(energies), np.nan)
        missed[single] = energies[single] - predict([model], dataset, np.flatnonzero(single)).energies
        shift = _of_single_atoms(single, atoms, missed)
    else:
        chosen = labelled[np.unique(np.linspace(0, len(labelled) - 1, LARGEST_SAMPLE).astype(int))]
        shift = _least_squares(counts[chosen], energies[chosen] - predict([model], dataset, chosen).energies)
    bias = model.module.fitting_net.energy_bias
    bias.add_(torch.from_numpy(shift).to(bias.device))
    return shift


def _least_squares(counts: np.ndarray, energies: np.ndarray) -> np.ndarray:
    labelled = np.isfinite(energies)
    return np.linalg.lstsq(counts[labelled].astype(np.float64), energies[labelled], rcond=None)[0]


def _of_single_atoms(single: np.ndarray, atoms: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Means [T] of values [F] over the frames of one atom of each species' element."""
    return np.array([values[single & (of_element == 1)].mean() for of_element in atoms.T])


def _single_atoms(dataset: Dataset, type_map: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Frames [F] of one atom without neighbours and with an energy, and atoms of each species' element, [F, T].

    Each element must have such a frame: what an atom is bonded to does not count, for a single one is bonded to none.
    """
    same = np.array([[element_of(one) == element_of(other) for one in type_map] for other in type_map])
    atoms = dataset.counts @ same
    single = (dataset.counts.sum(1) == 1) & np.isfinite(dataset.frames.energies)
    single[single] = [len(dataset.pairs(int(k)).i) == 0 for k in np.flatnonzero(single)]  # no image of itself either
    missing = elements_among(name for name, n in zip(type_map, atoms[single].sum(0), strict=True) if n == 0)
    if missing:
        raise DataError(f"expected a frame with one atom and its energy for each element (energy_bias = "
                        f"'isolated_atoms'), got none for {', '.join(missing)}; use 'least_squares'")
    return single, atoms
