"""What in labelled frames looks like another unit than eV and Angstrom."""

from collections.abc import Iterator, Sequence

import numpy as np
from ase import units
from ase.geometry import complete_cell

from ase_deeppot.fitting.frames import Frames
from ase_deeppot.structures import Structure

SHORTEST_DISTANCE = 0.3  # A; H2 has 0.74, nm read as A give a tenth
FORCE_RANGE = (1e-4, 50.0)  # eV/A, RMS of a source; MD at 300 K has about 1
NO_FORCE = 1e-8  # eV/A; below it is the noise of a perfect crystal
STRESS_LIMIT = 5.0  # eV/A^3, which is 800 GPa; kbar and GPa give numbers of 1 to 1000
ALL_ELECTRON_TOLERANCE = 0.02  # _all_electron is within 1.3% of DFT for molecules of H, C and O
ENERGY_TOLERANCE, FORCE_TOLERANCE = 0.03, 0.1  # of a ratio between two sources, about a unit's factor
SAME_COMPOSITION = 0.02  # largest difference of an element's fraction between comparable sources
SAMPLED_FRAMES, SAMPLED_CENTRES = 5, 200  # a source, a frame: enough to see a unit

ENERGY_UNITS = {  # in eV
    "Hartree": units.Hartree, "Rydberg": units.Rydberg,
    "kcal/mol": units.kcal / units.mol, "kJ/mol": units.kJ / units.mol,
}
FORCE_UNITS = {  # in eV/A
    "Hartree/Bohr": units.Hartree / units.Bohr, "Rydberg/Bohr": units.Rydberg / units.Bohr,
    "Hartree/A": units.Hartree, "kcal/mol/A": units.kcal / units.mol,
    "kJ/mol/nm": units.kJ / units.mol / units.nm,
}


def suspect_units(frames: Frames) -> list[str]:
    """What in the frames looks like another unit than eV and Angstrom, one line a finding.

    Each source is checked for itself (distances, size of forces and stresses, total energies that agree with
    an estimate of the all-electron energy in another unit) and against the first source of the same
    composition, from which it should not differ by the factor of a unit. These are guesses by magnitude: for
    warnings.
    """
    parts = [frames.select(frames.source == index) for index in range(len(frames.names))]
    parts = [part for part in parts if part.count]
    alone = [finding for part in parts for finding in _suspect_alone(part)]
    return alone + [finding for n, part in enumerate(parts) for finding in _suspect_beside(part, parts[:n])]


def _suspect_alone(part: Frames) -> Iterator[str]:
    name = part.names[part.source[0]]
    shortest, where = min((_shortest_distance(part.frame(k).structure), k) for k in _sample(part.count))
    if shortest < SHORTEST_DISTANCE:
        yield f"{part.label(where)}: atoms {shortest:.2g} A apart; are positions in A, not nm or scaled?"
    rms = _force_rms(part)
    if rms > FORCE_RANGE[1] or NO_FORCE < rms < FORCE_RANGE[0]:
        yield f"{name}: forces of RMS {rms:.2g} eV/A; are they in eV/A?"
    stress = _largest_stress(part)
    if stress > STRESS_LIMIT:
        yield f"{name}: a stress of {stress:.2g} eV/A^3; is it in eV/A^3, not GPa or kbar?"
    labelled = np.isfinite(part.energies)
    ratio = _ratio(part.energies[labelled].sum(), _all_electron(part)[labelled].sum())
    for unit, size in ENERGY_UNITS.items():
        # In Rydberg they are about where valence energies of light elements are in eV: no telling them apart.
        if unit != "Rydberg" and abs(ratio * size - 1) < ALL_ELECTRON_TOLERANCE:
            yield f"{name}: energies look like all-electron energies in {unit}; expected eV"


def _suspect_beside(part: Frames, earlier: Sequence[Frames]) -> Iterator[str]:
    """Compare with the first earlier source of the same composition."""
    composition = _composition(part)
    alike = [other for other in earlier if abs(_composition(other) - composition).max() < SAME_COMPOSITION]
    if not alike:
        return
    names = f"{alike[0].names[alike[0].source[0]]} and {part.names[part.source[0]]}"
    energy = _ratio(_energy_per_atom(part), _energy_per_atom(alike[0]))
    force = _ratio(_force_rms(part), _force_rms(alike[0]))
    for what, ratio, known, tolerance in (("energies per atom", energy, ENERGY_UNITS, ENERGY_TOLERANCE),
                                          ("RMS forces", force, FORCE_UNITS, FORCE_TOLERANCE)):
        # A ratio f and a ratio 1/f both say that one of the two is in a unit of size f.
        miss = {unit: min(abs(ratio * size - 1), abs(ratio / size - 1)) for unit, size in known.items()}
        unit = min(miss, key=miss.__getitem__)
        if miss[unit] < tolerance:
            yield f"{names}: {what} differ by a factor {max(ratio, 1 / ratio):.3g}; is one of them in {unit}?"


def _sample(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, SAMPLED_FRAMES).astype(int))


def _shortest_distance(structure: Structure) -> float:
    """Shortest distance between two atoms, exact where it is less than half the thickness of the cell."""
    positions, pbc = structure.positions, structure.pbc
    centres = np.unique(np.linspace(0, len(positions) - 1, SAMPLED_CENTRES).astype(int))
    cell = complete_cell(np.where(pbc[:, None], structure.cell, 0.0))
    fractional = (positions - positions[centres, None]) @ np.linalg.inv(cell)
    fractional[..., pbc] -= np.round(fractional[..., pbc])
    distances = np.linalg.norm(fractional @ cell, axis=2)  # [centres, N]
    distances[np.arange(len(centres)), centres] = np.inf
    return float(distances.min())


def _composition(part: Frames) -> np.ndarray:
    return np.bincount(part.numbers, minlength=128) / len(part.numbers)


def _energy_per_atom(part: Frames) -> float:
    labelled = np.isfinite(part.energies)
    return _ratio(part.energies[labelled].sum(), np.diff(part.offsets)[labelled].sum())


def _force_rms(part: Frames) -> float:
    """Root mean square of the labelled force components, NaN if there is none."""
    labelled = part.forces[np.isfinite(part.forces)]
    return float(np.sqrt(np.mean(labelled**2))) if labelled.size else np.nan


def _largest_stress(part: Frames) -> float:
    """Largest component of -virial / V over the frames with a cell, NaN if there is none."""
    volumes = np.abs(np.linalg.det(part.cells))
    volumes = np.where(volumes > 0, volumes, np.nan)
    return float(np.fmax.reduce(np.abs(part.virials / volumes[:, None, None]), axis=None))


def _all_electron(part: Frames) -> np.ndarray:
    """Total energies [F] of the free atoms in eV: Englert and Schwinger, Phys. Rev. A 32, 26 (1985)."""
    z = part.numbers.astype(float)
    hartree = -0.768745 * z ** (7 / 3) + 0.5 * z**2 - 0.269900 * z ** (5 / 3)
    return units.Hartree * np.add.reduceat(hartree, part.offsets[:-1])


def _ratio(above: float, below: float) -> float:
    return float(above / below) if below != 0 else np.nan
