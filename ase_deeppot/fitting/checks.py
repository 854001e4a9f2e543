"""What in the data is likely a mistake, each with the name of its frame; guesses by magnitude, for warnings."""

from collections.abc import Callable, Iterator

import numpy as np
from ase.data import atomic_numbers, covalent_radii

from ase_deeppot.fitting.config import FittingConfig
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.overview import composition_residual, largest_stresses
from ase_deeppot.fitting.statistics import Environments
from ase_deeppot.fitting.stored import AnyFrames
from ase_deeppot.fitting.strain import stresses_unlike_energies
from ase_deeppot.fitting.units import suspect_units
from ase_deeppot.species import element_of

MOST = 5  # frames named for one kind of finding
TIMES_MEDIAN = 15.0  # a largest force or stress so many times the median of all frames
LEAST_FORCE, LEAST_STRESS, LEAST_ENERGY = 1.0, 0.05, 0.1  # eV/A, eV/A^3, eV/atom; below is no outlier
LARGEST_FORCE = 100.0  # eV/A
SPREADS = 20.0  # robust standard deviations of the energy that the composition does not explain
ENOUGH_FRAMES = 10  # fewer have no typical frame
TOO_CLOSE = 0.5  # of the sum of covalent radii
FEW_ATOMS = 10  # of a species: too few to learn from
NET_FORCE = 0.05  # eV/A for each atom
SAME_ENERGY = 1e-4  # eV/atom


def findings(train: Dataset, validation: Dataset | None, environments: Environments,
             config: FittingConfig) -> Iterator[str]:
    """All that looks wrong, one line a finding."""
    parts = [train] if validation is None else [train, validation]
    yield from suspect_units([(part.frames, part.summary) for part in parts])
    for part in parts:
        yield from force_outliers(part)
        yield from stress_outliers(part.frames)
        yield from net_forces(part)
    yield from stresses_unlike_energies(train)
    yield from energy_outliers(train)
    yield from close_atoms(train.frames, environments, config.model.type_map)
    yield from lonely_atoms(train.frames, environments, config.model.rcut)
    yield from rare_species(train, config.model.type_map)
    yield from duplicates(train)
    if validation is not None:
        yield from leakage(train, validation)


def force_outliers(dataset: Dataset) -> Iterator[str]:
    """Frames with a force that is huge, or far above those of the other frames."""
    largest = dataset.summary.largest_force
    typical = _median(largest[largest > 0])
    outside = (largest > LARGEST_FORCE) | (largest > max(TIMES_MEDIAN * typical, LEAST_FORCE))
    yield from _named(dataset.frames, np.flatnonzero(outside), largest,
                      lambda k: f"a force of {largest[k]:.4g} eV/A, where the largest of a frame is "
                                f"{typical:.3g} on the median: an unconverged or broken calculation?")


def stress_outliers(frames: AnyFrames) -> Iterator[str]:
    """Frames with a stress far above those of the other frames."""
    largest = largest_stresses(frames)
    typical = _median(largest[largest > 0])
    outside = largest > max(TIMES_MEDIAN * typical, LEAST_STRESS)
    yield from _named(frames, np.flatnonzero(outside), largest,
                      lambda k: f"a stress of {largest[k]:.3g} eV/A^3, where the largest of a frame is "
                                f"{typical:.2g} on the median")


def net_forces(dataset: Dataset) -> Iterator[str]:
    """Frames whose forces do not add up to nothing."""
    sizes = np.diff(dataset.frames.offsets)
    net = dataset.summary.net_force / sizes
    yield from _named(dataset.frames, np.flatnonzero((net > NET_FORCE) & (sizes > 1)), net,
                      lambda k: f"forces that add up to {net[k] * sizes[k]:.3g} eV/A, which no potential of distances "
                                "gives: an external field, or forces without those on fixed atoms?")


def energy_outliers(dataset: Dataset) -> Iterator[str]:
    """Frames whose energy is far from what others of such a composition have; isolated atoms are another matter."""
    frames, sizes = dataset.frames, np.diff(dataset.frames.offsets)
    usual = np.isfinite(frames.energies) & (sizes > 1)
    if usual.sum() < ENOUGH_FRAMES:
        return
    kept = usual
    for _ in range(2):  # the second fit is without what stood out in the first
        rest = composition_residual(dataset.summary.counts, frames.energies, kept)
        middle = np.median(rest[kept])
        spread = 1.4826 * np.median(np.abs(rest[kept] - middle))
        away = np.abs(rest - middle)
        kept = kept & (away <= max(SPREADS * spread, LEAST_ENERGY))
    outside = np.flatnonzero(usual & ~kept)
    yield from _named(frames, outside, away,
                      lambda k: f"an energy {rest[k] - middle:+.3g} eV/atom from that of frames of such a composition, "
                                f"whose spread is {spread:.2g}")


def close_atoms(frames: AnyFrames, environments: Environments, type_map: tuple[str, ...]) -> Iterator[str]:
    """The closest two atoms of each pair of species, where they are closer than atoms get."""
    for t, a in enumerate(type_map):
        for u, b in enumerate(type_map[: t + 1]):
            bond = sum(covalent_radii[atomic_numbers[element_of(name)]] for name in (a, b))
            distance = environments.smallest[t, u]
            if distance < TOO_CLOSE * bond:
                yield (f"{frames.label(int(environments.closest[t, u]))}: {a} and {b} only {distance:.2f} A apart, "
                       f"where a bond has about {bond:.2f}")


def lonely_atoms(frames: AnyFrames, environments: Environments, rcut: float) -> Iterator[str]:
    """Frames of several atoms, one of which sees none of the others."""
    yield from _named(frames, environments.alone, None, lambda k: f"an atom without neighbours within {rcut:g} A")


def rare_species(dataset: Dataset, type_map: tuple[str, ...]) -> Iterator[str]:
    """Species with hardly any atom."""
    for symbol, atoms in zip(type_map, dataset.counts.T, strict=True):
        count = int(atoms.sum())
        if 0 < count < FEW_ATOMS:
            k = int(np.argmax(atoms > 0))
            yield f"{dataset.frames.label(k)}: one of only {count} atoms of {symbol} in the training frames"
        if not count:
            yield f"no {symbol} in the training frames: its net stays as it is"


def duplicates(dataset: Dataset) -> Iterator[str]:
    """Frames that are there twice, and whether their energies agree."""
    frames = dataset.frames
    _, first, group = np.unique(dataset.summary.structure, return_index=True, return_inverse=True)
    other = first[group]  # the first frame of the same structure
    again = np.flatnonzero(other != np.arange(frames.count))
    gap = np.abs(frames.energies - frames.energies[other]) / np.diff(frames.offsets)
    differ = gap[again] > SAME_ENERGY
    yield from _named(frames, again[differ], None,
                      lambda k: f"the same structure as {frames.label(other[k])}, with an energy that differs by "
                                f"{gap[k]:.2g} eV/atom")
    yield from _named(frames, again[~differ], None, lambda k: f"the same structure as {frames.label(other[k])}")


def leakage(train: Dataset, validation: Dataset) -> Iterator[str]:
    """Validation frames that are trained on."""
    trained, first = np.unique(train.summary.structure, return_index=True)
    keys = validation.summary.structure
    place = np.minimum(np.searchsorted(trained, keys), len(trained) - 1)
    yield from _named(validation.frames, np.flatnonzero(trained[place] == keys), None,
                      lambda k: f"a validation frame that is trained on ({train.frames.label(first[place[k]])}): its "
                                "error says nothing of new structures")


def _median(values: np.ndarray) -> float:
    """Of what is typical, infinite if there are too few values for that."""
    return float(np.median(values)) if len(values) >= ENOUGH_FRAMES else float("inf")


def _named(frames: AnyFrames, indices: np.ndarray, severity: np.ndarray | None,
           text: Callable[[int], str]) -> Iterator[str]:
    """A line for each of the worst frames, and one for the number of the others."""
    order = indices if severity is None else indices[np.argsort(-severity[indices], kind="stable")]
    for k in map(int, order[:MOST]):
        yield f"{frames.label(k)}: {text(k)}"
    if len(order) > MOST:
        yield f"and {len(order) - MOST} more like these"
