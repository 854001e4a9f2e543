"""Errors of a model as its calculator gives them, frame by frame."""

import numpy as np

from ase_deeppot import DeepPotCalculator


def calculator_errors(path, images):
    """Of energies per atom, forces and stresses (nine components), each flat."""
    errors = {"energy": [], "forces": [], "stress": []}
    for atoms in images:
        own = atoms.copy()
        own.calc = DeepPotCalculator(path)
        errors["energy"].append((own.get_potential_energy() - atoms.get_potential_energy()) / len(atoms))
        errors["forces"].append(own.get_forces() - atoms.get_forces())
        errors["stress"].append(own.get_stress(voigt=False) - atoms.get_stress(voigt=False))
    return {name: np.concatenate([np.ravel(part) for part in parts]) for name, parts in errors.items()}
