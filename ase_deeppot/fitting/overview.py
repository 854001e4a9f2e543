"""What training frames are like, in a few lines: species, neighbours, distances, energies, forces, stresses."""

from collections.abc import Iterator

import numpy as np

from ase_deeppot.fitting.config import FittingConfig
from ase_deeppot.fitting.datasets import Dataset, batch_size_for
from ase_deeppot.fitting.statistics import LARGEST_SAMPLE, Environments
from ase_deeppot.fitting.stored import AnyFrames
from ase_deeppot.potential.card import pair_name
from ase_deeppot.species import element_of, elements_among

MOST_NEIGHBORS = 6  # species whose neighbours are told by species
SHOWN_PAIRS = 10  # closest pairs of species that are told
MOST_TERMS = 6000  # of a polynomial that are advised, else two thirds of what forces there are for each species
FEW_ATOMS = 50_000  # of all frames of molecules: more than that is more than polynomials need


def describe(dataset: Dataset, environments: Environments, config: FittingConfig) -> Iterator[str]:
    """Lines for the user, before the first step."""
    frames, sizes = dataset.frames, np.diff(dataset.frames.offsets)
    span = f"{sizes.min()}" if sizes.min() == sizes.max() else f"{sizes.min()} to {sizes.max()}"
    sampled = f"; distances from {LARGEST_SAMPLE} of them" if frames.count > LARGEST_SAMPLE else ""
    yield f"{frames.count} training frames of {span} atoms, {sizes.sum():,} atoms in all{sampled}"
    yield from _species(dataset, environments, config)
    closest = ", ".join(_distances(frames, environments, config.model.type_map))
    yield "closest pairs   " + (closest or "none within the cutoff")
    yield "energies        " + _energies(dataset)
    yield "forces          " + _forces(dataset)
    if np.isfinite(frames.virials).any():
        yield "stresses        " + _stresses(frames)
    yield "isolated atoms  " + _isolated(dataset, config.model.type_map)
    yield "steps           " + _steps(frames, config)
    if _would_gain_by_polynomials(frames, config):
        count = min(MOST_TERMS, max(100, 2 * int(sizes.sum()) // len(config.model.type_map) // 100 * 100))
        yield (f"molecules       so few frames of them leave nets much open: training.monomials = {count} and "
               "descriptor.bispectrum_neuron = 4 bring smaller errors (docs/fitting.md)")
    if _would_gain_by_bonds(frames, config):
        yield ("bonds           model.bonds = 2, which tells atoms of an element apart by what they are bonded to, can "
               "make errors smaller for molecules that keep their bonds (docs/fitting.md)")


def _steps(frames: AnyFrames, config: FittingConfig) -> str:
    if config.model.fitting_net.polynomial:
        return "none: the weights of polynomials come from least squares"
    size = batch_size_for(frames, config.training.batch_size, config.training.batch_atoms)
    per_epoch = -(-frames.count // size)
    return (f"{config.training.steps:,} of {size} frame{'s' * (size > 1)}, {per_epoch} an epoch: "
            f"{_rounded(config.training.steps / per_epoch)} epochs")


def _would_gain_by_polynomials(frames: AnyFrames, config: FittingConfig) -> bool:
    """Whether the nets are the default descriptor's, and the frames a few molecules."""
    polynomials = config.training.monomials or config.model.fitting_net.polynomial
    return not polynomials and _molecules(frames, config) and frames.offsets[-1] <= FEW_ATOMS


def _would_gain_by_bonds(frames: AnyFrames, config: FittingConfig) -> bool:
    """Whether the frames are molecules, whose atoms the model tells apart by element."""
    return not config.model.bonds and _molecules(frames, config)


def _molecules(frames: AnyFrames, config: FittingConfig) -> bool:
    """Whether the frames are molecules, and the descriptor the default one."""
    smooth = getattr(config.model.descriptor, "kind", "") == "smooth"
    return smooth and bool(np.diff(frames.offsets).max() > 1) and not frames.pbc.any()


def largest_stresses(frames: AnyFrames) -> np.ndarray:
    """Largest component of the stress of each frame, [F], eV/A^3; NaN without label or volume."""
    volumes = np.abs(np.linalg.det(frames.cells))
    return np.abs(frames.virials).max((1, 2)) / np.where(volumes > 0, volumes, np.nan)


def _rounded(number: float) -> str:
    """Three digits of it, and all before the point."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _species(dataset: Dataset, environments: Environments, config: FittingConfig) -> Iterator[str]:
    type_map = config.model.type_map
    counts = dataset.counts.sum(0, dtype=np.int64)
    width = max(16, *(len(name) + 2 for name in type_map))
    few = len(type_map) <= MOST_NEIGHBORS
    yield (f"{'species':{width}}{'atoms':>9}{'share':>8}"
           + (f"   neighbours within {config.model.rcut:g} A: mean (most)" if few else ""))
    for t, name in enumerate(type_map):
        mean = environments.sum_neighbors[t] / max(environments.centres[t], 1)
        around = ", ".join(f"{other} {mean[u]:.3g} ({environments.sel[t, u]})" for u, other in enumerate(type_map))
        yield f"{name:{width}}{counts[t]:9,}{counts[t] / counts.sum():8.1%}" + (f"   {around}" if few else "")


def _distances(frames: AnyFrames, environments: Environments, type_map: tuple[str, ...]) -> list[str]:
    pairs: dict[str, tuple[float, int]] = {}  # of elements: distance and frame
    for t, a in enumerate(type_map):
        for u, b in enumerate(type_map[: t + 1]):
            name = pair_name(element_of(a), element_of(b))
            found = float(environments.smallest[t, u]), int(environments.closest[t, u])
            pairs[name] = min(found, pairs.get(name, found))
    nearest = sorted((distance, name, k) for name, (distance, k) in pairs.items() if np.isfinite(distance))
    return [f"{name} {distance:.2f} A ({frames.label(k)})" for distance, name, k in nearest[:SHOWN_PAIRS]]


def _energies(dataset: Dataset) -> str:
    frames, sizes = dataset.frames, np.diff(dataset.frames.offsets)
    labelled = np.isfinite(frames.energies)
    if not labelled.any():
        return "none"
    per_atom = (frames.energies / sizes)[labelled]
    rest = composition_residual(dataset.counts, frames.energies)[labelled]
    return (f"{per_atom.min():.4f} to {per_atom.max():.4f} eV/atom; what their composition does not say has a spread "
            f"of {1e3 * rest.std():.4g} meV/atom")


def composition_residual(counts: np.ndarray, energies: np.ndarray, kept: np.ndarray | None = None) -> np.ndarray:
    """Energy of each frame per atom, [F], less the best fit by composition; NaN without label.

    The fit is to the labelled frames, or to those of them that are ``kept`` [F].
    """
    use = np.isfinite(energies) if kept is None else kept & np.isfinite(energies)
    weights = 1.0 / counts.sum(1)
    fractions = counts * weights[:, None]
    bias = np.linalg.lstsq(fractions[use], (energies * weights)[use], rcond=None)[0]
    return energies * weights - fractions @ bias


def _forces(dataset: Dataset) -> str:
    summary = dataset.summary
    if not summary.force_labels.any():
        return "none"
    rms = np.sqrt(summary.force_squares.sum() / summary.force_labels.sum())
    k = int(np.nanargmax(summary.largest_force))
    return (f"rms {rms:.4g} eV/A a component; largest on an atom {summary.largest_force[k]:.4g} eV/A "
            f"({dataset.frames.label(k)})")


def _stresses(frames: AnyFrames) -> str:
    largest = largest_stresses(frames)
    if np.isnan(largest).all():
        return "virials of frames without a cell"
    k = int(np.nanargmax(largest))
    volumes = np.abs(np.linalg.det(frames.cells))[:, None, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        stress = frames.virials / volumes
    rms = np.sqrt(np.mean(stress[np.isfinite(stress)] ** 2))
    return f"rms {rms:.4g} eV/A^3; largest component {largest[k]:.4g} eV/A^3 ({frames.label(k)})"


def _isolated(dataset: Dataset, type_map: tuple[str, ...]) -> str:
    frames = dataset.frames
    single = (np.diff(frames.offsets) == 1) & ~frames.pbc.any(1) & np.isfinite(frames.energies)
    if not single.any():
        return "none"
    elements = np.array([element_of(name) for name in type_map])
    of_elements = {symbol: frames.energies[single & dataset.counts[:, elements == symbol].any(1)]
                   for symbol in elements_among(type_map)}
    return ", ".join(f"{symbol} {energies.mean():.4f} eV" if len(energies) else f"{symbol} not there"
                     for symbol, energies in of_elements.items())
