"""What in the data is likely a mistake, each with the name of its frame; guesses by magnitude, for warnings."""

import hashlib
from collections.abc import Callable, Iterator

import numpy as np
from ase.data import atomic_numbers, covalent_radii

from ase_deeppot.fitting.bias import compositions
from ase_deeppot.fitting.config import FittingConfig
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.frames import Frames, concatenate
from ase_deeppot.fitting.overview import composition_residual, largest_forces, largest_stresses
from ase_deeppot.fitting.statistics import Environments
from ase_deeppot.fitting.units import suspect_units

MOST = 5  # frames named for one kind of finding
TIMES_MEDIAN = 15.0  # a largest force or stress so many times the median of all frames
LEAST_FORCE, LEAST_STRESS, LEAST_ENERGY = 1.0, 0.05, 0.1  # eV/A, eV/A^3, eV/atom; below is no outlier
LARGEST_FORCE = 100.0  # eV/A
SPREADS = 20.0  # robust standard deviations of the energy that the composition does not explain
ENOUGH_FRAMES = 10  # fewer have no typical frame
TOO_CLOSE = 0.5  # of the sum of covalent radii
FEW_ATOMS = 10  # of a species: too few to learn from
NET_FORCE = 0.05  # eV/A for each atom
SAME_POSITION, SAME_ENERGY = 4, 1e-4  # decimals of A, eV/atom


def findings(train: Dataset, validation: Dataset | None, environments: Environments,
             config: FittingConfig) -> Iterator[str]:
    """All that looks wrong, one line a finding."""
    parts = [train.frames] if validation is None else [train.frames, validation.frames]
    yield from suspect_units(concatenate(parts))
    for frames in parts:
        yield from force_outliers(frames)
        yield from stress_outliers(frames)
        yield from net_forces(frames)
    yield from energy_outliers(train)
    yield from close_atoms(train.frames, environments, config.model.type_map)
    yield from lonely_atoms(train.frames, environments, config.model.rcut)
    yield from rare_species(train, config.model.type_map)
    yield from duplicates(train.frames)
    if validation is not None:
        yield from leakage(train.frames, validation.frames)


def force_outliers(frames: Frames) -> Iterator[str]:
    """Frames with a force that is huge, or far above those of the other frames."""
    largest = largest_forces(frames)
    typical = _median(largest[largest > 0])
    outside = (largest > LARGEST_FORCE) | (largest > max(TIMES_MEDIAN * typical, LEAST_FORCE))
    yield from _named(frames, np.flatnonzero(outside), largest,
                      lambda k: f"a force of {largest[k]:.4g} eV/A, where the largest of a frame is "
                                f"{typical:.3g} on the median: an unconverged or broken calculation?")


def stress_outliers(frames: Frames) -> Iterator[str]:
    """Frames with a stress far above those of the other frames."""
    largest = largest_stresses(frames)
    typical = _median(largest[largest > 0])
    outside = largest > max(TIMES_MEDIAN * typical, LEAST_STRESS)
    yield from _named(frames, np.flatnonzero(outside), largest,
                      lambda k: f"a stress of {largest[k]:.3g} eV/A^3, where the largest of a frame is "
                                f"{typical:.2g} on the median")


def net_forces(frames: Frames) -> Iterator[str]:
    """Frames whose forces do not add up to nothing."""
    sizes = np.diff(frames.offsets)
    net = np.linalg.norm(np.add.reduceat(frames.forces, frames.offsets[:-1]), axis=1) / sizes
    yield from _named(frames, np.flatnonzero((net > NET_FORCE) & (sizes > 1)), net,
                      lambda k: f"forces that add up to {net[k] * sizes[k]:.3g} eV/A, which no potential of distances "
                                "gives: an external field, or forces without those on fixed atoms?")


def energy_outliers(dataset: Dataset) -> Iterator[str]:
    """Frames whose energy is far from what others of such a composition have; isolated atoms are another matter."""
    frames, sizes = dataset.frames, np.diff(dataset.frames.offsets)
    usual = np.isfinite(frames.energies) & (sizes > 1)
    if usual.sum() < ENOUGH_FRAMES:
        return
    counts = compositions(dataset, int(dataset.types.max()) + 1)
    kept = usual
    for _ in range(2):  # the second fit is without what stood out in the first
        rest = composition_residual(counts, frames.energies, kept)
        middle = np.median(rest[kept])
        spread = 1.4826 * np.median(np.abs(rest[kept] - middle))
        away = np.abs(rest - middle)
        kept = kept & (away <= max(SPREADS * spread, LEAST_ENERGY))
    outside = np.flatnonzero(usual & ~kept)
    yield from _named(frames, outside, away,
                      lambda k: f"an energy {rest[k] - middle:+.3g} eV/atom from that of frames of such a composition, "
                                f"whose spread is {spread:.2g}")


def close_atoms(frames: Frames, environments: Environments, type_map: tuple[str, ...]) -> Iterator[str]:
    """The closest two atoms of each pair of species, where they are closer than atoms get."""
    for t, a in enumerate(type_map):
        for u, b in enumerate(type_map[: t + 1]):
            bond = covalent_radii[atomic_numbers[a]] + covalent_radii[atomic_numbers[b]]
            distance = environments.smallest[t, u]
            if distance < TOO_CLOSE * bond:
                yield (f"{frames.label(int(environments.closest[t, u]))}: {a} and {b} only {distance:.2f} A apart, "
                       f"where a bond has about {bond:.2f}")


def lonely_atoms(frames: Frames, environments: Environments, rcut: float) -> Iterator[str]:
    """Frames of several atoms, one of which sees none of the others."""
    yield from _named(frames, environments.alone, None, lambda k: f"an atom without neighbours within {rcut:g} A")


def rare_species(dataset: Dataset, type_map: tuple[str, ...]) -> Iterator[str]:
    """Species with hardly any atom."""
    for t, symbol in enumerate(type_map):
        atoms = np.flatnonzero(dataset.types == t)
        if 0 < len(atoms) < FEW_ATOMS:
            k = int(np.searchsorted(dataset.frames.offsets, atoms[0], side="right")) - 1
            yield f"{dataset.frames.label(k)}: one of only {len(atoms)} atoms of {symbol} in the training frames"
        if not len(atoms):
            yield f"no {symbol} in the training frames: its net stays as it is"


def duplicates(frames: Frames) -> Iterator[str]:
    """Frames that are there twice, and whether their energies agree."""
    first: dict[bytes, int] = {}
    again = [(k, first.setdefault(key, k)) for k, key in enumerate(structure_keys(frames))]
    pairs = {k: other for k, other in again if k != other}
    sizes = np.diff(frames.offsets)
    differ = {k: abs(frames.energies[k] - frames.energies[other]) / sizes[k] for k, other in pairs.items()}
    contradicting = np.array([k for k, gap in differ.items() if gap > SAME_ENERGY], dtype=np.int64)
    agreeing = np.array([k for k in pairs if not differ[k] > SAME_ENERGY], dtype=np.int64)
    yield from _named(frames, contradicting, None,
                      lambda k: f"the same structure as {frames.label(pairs[k])}, with an energy that differs by "
                                f"{differ[k]:.2g} eV/atom")
    yield from _named(frames, agreeing, None, lambda k: f"the same structure as {frames.label(pairs[k])}")


def leakage(train: Frames, validation: Frames) -> Iterator[str]:
    """Validation frames that are trained on."""
    trained = {key: k for k, key in enumerate(structure_keys(train))}
    seen = {k: trained[key] for k, key in enumerate(structure_keys(validation)) if key in trained}
    yield from _named(validation, np.array(list(seen), dtype=np.int64), None,
                      lambda k: f"a validation frame that is trained on ({train.label(seen[k])}): its error says "
                                "nothing of new structures")


def structure_keys(frames: Frames) -> list[bytes]:
    """Digest of each structure, equal for equal elements, positions and cell, to rounding."""
    positions, cells = (np.round(array, SAME_POSITION) + 0.0 for array in (frames.positions, frames.cells))
    keys = []
    for k in range(frames.count):
        rows = slice(frames.offsets[k], frames.offsets[k + 1])
        parts = (frames.numbers[rows], positions[rows], cells[k] * frames.pbc[k][:, None], frames.pbc[k])
        keys.append(hashlib.blake2b(b"".join(np.ascontiguousarray(part).tobytes() for part in parts),
                                    digest_size=16).digest())
    return keys


def _median(values: np.ndarray) -> float:
    """Of what is typical, infinite if there are too few values for that."""
    return float(np.median(values)) if len(values) >= ENOUGH_FRAMES else float("inf")


def _named(frames: Frames, indices: np.ndarray, severity: np.ndarray | None,
           text: Callable[[int], str]) -> Iterator[str]:
    """A line for each of the worst frames, and one for the number of the others."""
    order = indices if severity is None else indices[np.argsort(-severity[indices], kind="stable")]
    for k in map(int, order[:MOST]):
        yield f"{frames.label(k)}: {text(k)}"
    if len(order) > MOST:
        yield f"and {len(order) - MOST} more frames like these"
