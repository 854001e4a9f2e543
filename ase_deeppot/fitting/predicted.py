"""Predictions beside their labels, as structures that ASE reads."""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.extxyz import write_extxyz
from ase.stress import full_3x3_to_voigt_6_stress

from ase_deeppot.files import replacing
from ase_deeppot.fitting.frames import Frames
from ase_deeppot.fitting.metrics import Predictions
from ase_deeppot.results import DEVIATION

LABEL = "REF_"  # before the name of a label


@contextmanager
def writing_predictions(path: Path | None) -> Iterator[Callable[[Frames, Predictions], None]]:
    """Write extended XYZ: the model's energy, forces and stress, the labels as ``REF_energy``, ``REF_forces`` and
    ``REF_stress`` where there are any, where each frame came from, and as ``forces_deviation`` how far several models
    are apart in the force on each atom.

    The context is a function that writes some more frames, or forgets them where there is no path. The file is there
    when the context is left without an error.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    if path is None:
        yield lambda frames, predictions: None
        return
    with replacing(path) as file:
        yield lambda frames, predictions: _write(file, frames, predictions)


def _write(file: BinaryIO, frames: Frames, predictions: Predictions) -> None:
    file.write(extended_xyz([atoms_of(frames, predictions, k) for k in range(frames.count)]))


def extended_xyz(frames: Sequence[Atoms]) -> bytes:
    """Structures with their results as a file has them; what follows may be written after it."""
    text = io.StringIO()
    write_extxyz(text, frames)
    return text.getvalue().encode()


def formula_of(numbers: np.ndarray) -> str:
    """Chemical formula, such as ``'CH2O'``."""
    return str(Atoms(numbers).symbols.formula.format("hill"))


def atoms_of(frames: Frames, predictions: Predictions, k: int) -> Atoms:
    """Frame ``k`` with its predictions as results and its labels beside them."""
    frame, rows = frames.frame(k), slice(frames.offsets[k], frames.offsets[k + 1])
    structure = frame.structure
    atoms = Atoms(structure.numbers, structure.positions, cell=structure.cell, pbc=structure.pbc,
                  info={"source": frames.names[frames.source[k]], "frame": int(frames.origin[k])})
    results = {"energy": float(predictions.energies[k]), "forces": predictions.forces[rows]}
    if structure.volume > 0:
        results["stress"] = full_3x3_to_voigt_6_stress(-predictions.virials[k] / structure.volume)
        if np.isfinite(frame.virial).all():
            atoms.info[LABEL + "stress"] = full_3x3_to_voigt_6_stress(-frame.virial / structure.volume)
    if np.isfinite(frame.energy):
        atoms.info[LABEL + "energy"] = frame.energy
    if np.isfinite(frame.forces).all():
        atoms.arrays[LABEL + "forces"] = frame.forces.copy()
    if predictions.deviations is not None:
        atoms.arrays[DEVIATION] = predictions.deviations[rows]
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms
