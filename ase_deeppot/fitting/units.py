"""What in labelled frames looks like another unit than eV and Angstrom."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from ase import units
from ase.data import atomic_numbers
from ase.geometry import complete_cell

from ase_deeppot.fitting.stored import AnyFrames
from ase_deeppot.fitting.summary import Summary
from ase_deeppot.species import element_of
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


class _Source(NamedTuple):
    """The frames of one source."""

    name: str
    frames: AnyFrames
    composition: np.ndarray  # [128] share of the atoms, by atomic number
    all_electron: np.ndarray  # [F] eV, an estimate of the total energy
    force_rms: float  # eV/A, NaN without labels


def suspect_units(parts: Iterable[tuple[AnyFrames, Summary]]) -> list[str]:
    """What in the frames looks like another unit than eV and Angstrom, one line a finding.

    Each source is checked for itself (distances, size of forces and stresses, total energies that agree with
    an estimate of the all-electron energy in another unit) and against the first source of the same
    composition, from which it should not differ by the factor of a unit. These are guesses by magnitude: for
    warnings.
    """
    sources = [source for frames, summary in parts for source in _sources(frames, summary)]
    alone = [finding for source in sources for finding in _suspect_alone(source)]
    return alone + [finding for n, source in enumerate(sources) for finding in _suspect_beside(source, sources[:n])]


def _sources(frames: AnyFrames, summary: Summary) -> Iterator[_Source]:
    numbers = np.array([atomic_numbers[element_of(name)] for name in summary.species])
    for index, name in enumerate(frames.names):
        mask = frames.source == index
        if not mask.any():
            continue
        counts, composition = summary.counts[mask], np.zeros(128)
        np.add.at(composition, numbers, counts.sum(0) / counts.sum())
        rms = float(np.sqrt(_ratio(summary.force_squares[mask].sum(), summary.force_labels[mask].sum())))
        yield _Source(name, frames.subset(mask), composition, counts @ _all_electron(numbers), rms)


def _suspect_alone(source: _Source) -> Iterator[str]:
    name, frames, rms = source.name, source.frames, source.force_rms
    shortest, where = min((_shortest_distance(frames.frame(k).structure), k) for k in _sample(frames.count))
    if shortest < SHORTEST_DISTANCE:
        yield f"{frames.label(where)}: atoms {shortest:.2g} A apart; are positions in A, not nm or scaled?"
    if rms > FORCE_RANGE[1] or NO_FORCE < rms < FORCE_RANGE[0]:
        yield f"{name}: forces of RMS {rms:.2g} eV/A; are they in eV/A?"
    stress = _largest_stress(frames)
    if stress > STRESS_LIMIT:
        yield f"{name}: a stress of {stress:.4g} eV/A^3; is it in eV/A^3, not GPa or kbar?"
    labelled = np.isfinite(frames.energies)
    ratio = _ratio(frames.energies[labelled].sum(), source.all_electron[labelled].sum())
    for unit, size in ENERGY_UNITS.items():
        # In Rydberg they are about where valence energies of light elements are in eV: no telling them apart.
        if unit != "Rydberg" and abs(ratio * size - 1) < ALL_ELECTRON_TOLERANCE:
            yield f"{name}: energies look like all-electron energies in {unit}; expected eV"


def _suspect_beside(source: _Source, earlier: Sequence[_Source]) -> Iterator[str]:
    """Compare with the first earlier source of the same composition."""
    alike = next((other for other in earlier
                  if abs(other.composition - source.composition).max() < SAME_COMPOSITION), None)
    if alike is None:
        return
    energy = _ratio(_energy_per_atom(source.frames), _energy_per_atom(alike.frames))
    force = _ratio(source.force_rms, alike.force_rms)
    for what, ratio, known, tolerance in (("energies per atom", energy, ENERGY_UNITS, ENERGY_TOLERANCE),
                                          ("RMS forces", force, FORCE_UNITS, FORCE_TOLERANCE)):
        # A ratio f and a ratio 1/f both say that one of the two is in a unit of size f.
        miss = {unit: min(abs(ratio * size - 1), abs(ratio / size - 1)) for unit, size in known.items()}
        unit = min(miss, key=miss.__getitem__)
        if miss[unit] < tolerance:
            yield (f"{alike.name} and {source.name}: {what} differ by a factor {max(ratio, 1 / ratio):.3g}; is one of "
                   f"them in {unit}?")


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


def _energy_per_atom(part: AnyFrames) -> float:
    labelled = np.isfinite(part.energies)
    return _ratio(part.energies[labelled].sum(), np.diff(part.offsets)[labelled].sum())


def _largest_stress(part: AnyFrames) -> float:
    """Largest component of -virial / V over the frames with a cell, NaN if there is none."""
    volumes = np.abs(np.linalg.det(part.cells))
    volumes = np.where(volumes > 0, volumes, np.nan)
    return float(np.fmax.reduce(np.abs(part.virials / volumes[:, None, None]), axis=None))


def _all_electron(numbers: np.ndarray) -> np.ndarray:
    """Total energy of each free atom, eV: Englert and Schwinger, Phys. Rev. A 32, 26 (1985)."""
    z = numbers.astype(float)
    hartree: np.ndarray = -0.768745 * z ** (7 / 3) + 0.5 * z**2 - 0.269900 * z ** (5 / 3)
    return units.Hartree * hartree


def _ratio(above: float, below: float) -> float:
    return float(above / below) if below != 0 else np.nan
