"""Whether stresses are those of the energies, by frames that are one crystal under several strains.

Between two such frames, a and b, ``E_b - E_a = V sigma : strain`` by the rule of trapezoids, with W = -V sigma:

    E_b - E_a + (W_a : e_a + W_b : e_b) / 2  ~  0,    e_a = ln(F F^T)/2,  e_b = ln(F^T F)/2,  h_b = h_a F
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from ase_deeppot.fitting.datasets import Dataset

SMALLEST_STRAIN = 0.02  # energies have noise, of k points say
MOST_FRAMES = 200  # of one crystal, as each is compared with each
LEAST_PAIRS = 5
LEAST_SHARE, LEAST_ENERGY = 0.15, 5e-4  # of the work of the stresses, and eV/atom; less is no disagreement
AS_GOOD = 1.5  # an explanation that leaves so many times the least is preferred where it is simpler
EXPLAINED = 0.4  # of the disagreement may be left by an explanation

Change = Callable[[np.ndarray], np.ndarray]


class Pairs(NamedTuple):
    """P pairs of frames, first and second, that differ by a strain; energies and virials of an atom."""

    frames: np.ndarray  # [P, 2]
    energy: np.ndarray  # [P] eV, of the second less that of the first
    virials: np.ndarray  # [P, 2, 3, 3] eV
    strains: np.ndarray  # [P, 2, 3, 3] from the first to the second, as seen in each
    volumes: np.ndarray  # [P, 2] A^3


def stresses_unlike_energies(dataset: Dataset) -> Iterator[str]:
    """A line that says by how much stresses disagree with energies and what would explain it; none if they agree."""
    pairs = strained_pairs(dataset)
    if len(pairs.energy) < LEAST_PAIRS:
        return
    gap = disagreement(pairs, pairs.virials)
    work = np.abs(np.einsum("pkij,pkij->pk", pairs.virials, pairs.strains)).sum(1) / 2
    if _rms(gap) < max(LEAST_ENERGY, LEAST_SHARE * _rms(work)):
        return
    worst = int(np.argmax(np.abs(gap)))
    a, b = (dataset.frames.label(int(k)) for k in pairs.frames[worst])
    yield (f"{b}: from {a}, the same crystal, its energy differs by {1e3 * pairs.energy[worst]:.3g} meV/atom, and by "
           f"{1e3 * (pairs.energy - gap)[worst]:.3g} by the stresses on the way; so in {len(gap)} such pairs, by "
           f"{1e3 * _rms(gap):.2g} meV/atom (RMS). {_explanation(pairs)}. No model can have both: correct the "
           "stresses, or train without them (data.keys.stress = \"\")")


def strained_pairs(dataset: Dataset) -> Pairs:
    """Each frame with energy and stress, and of its crystal that which is nearest beyond the smallest strain."""
    frames, labelled = dataset.frames, dataset.summary.labelled
    sizes = np.diff(frames.offsets)
    known = np.flatnonzero(labelled[:, 0] & labelled[:, 2] & frames.pbc.all(1) & (sizes > 0))
    found = [pair for group in _alike(dataset.summary.crystal[known])
             for pair in _neighbours(frames.cells, known[group])]
    first, second = np.array([(a, b) for a, b, _ in found], dtype=int).reshape(-1, 2).T
    both = np.stack([first, second], 1)
    return Pairs(both, np.diff((frames.energies / sizes)[both], axis=1)[:, 0],
                 (frames.virials / sizes[:, None, None])[both],
                 np.array([strain for _, _, strain in found]).reshape(-1, 2, 3, 3),
                 np.abs(np.linalg.det(frames.cells) / sizes)[both])


def disagreement(pairs: Pairs, virials: np.ndarray) -> np.ndarray:
    """``E_b - E_a + (W_a : e_a + W_b : e_b) / 2`` of each pair, [P] eV/atom."""
    return np.asarray(pairs.energy + np.einsum("pkij,pkij->p", virials, pairs.strains) / 2)


def _alike(keys: np.ndarray) -> Iterator[np.ndarray]:
    """Indices of equal keys, where there are several; not of all, if there are many."""
    order = np.argsort(keys, kind="stable")
    ends = np.flatnonzero(keys[order][1:] != keys[order][:-1]) + 1
    return (group[:MOST_FRAMES] for group in np.split(order, ends) if len(group) > 1)


def _neighbours(cells: np.ndarray, group: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    for a in group:
        others = group[group != a]
        strains = _strains(np.linalg.solve(cells[a], cells[others]))
        size = np.linalg.norm(strains[:, 0], axis=(1, 2))
        if (size >= SMALLEST_STRAIN).any():
            nearest = int(np.argmin(np.where(size < SMALLEST_STRAIN, np.inf, size)))
            yield int(a), int(others[nearest]), strains[nearest]


def _strains(deformation: np.ndarray) -> np.ndarray:
    """``ln(F F^T)/2`` and ``ln(F^T F)/2`` of each F, [n, 2, 3, 3]."""
    transposed = deformation.swapaxes(1, 2)
    values, vectors = np.linalg.eigh(np.stack([deformation @ transposed, transposed @ deformation], axis=1))
    return np.asarray((vectors * np.log(values)[..., None, :] / 2) @ vectors.swapaxes(2, 3))


def _explanation(pairs: Pairs) -> str:
    """The simplest change of the stresses that brings most of the agreement."""
    tried = []
    for text, change in CHANGES:
        changed = change(pairs.virials)
        gap, expansion = disagreement(pairs, changed), _expansion(pairs)
        pressure = float(gap @ expansion / (expansion @ expansion)) if expansion.any() else 0.0
        tried += [(_rms(gap), text), (_rms(gap - pressure * expansion), _with_pressure(text, pressure))]
    left = [rest for rest, _ in tried]
    if min(left) > EXPLAINED * left[0]:
        return "Neither a wrong sign, nor exchanged components, nor a pressure explains it"
    rest, text = next(one for one in tried if one[0] <= AS_GOOD * min(left))
    return f"It would be {1e3 * rest:.2g}, if {text}"


def _expansion(pairs: Pairs) -> np.ndarray:
    """By how much each pair's volume grows, [P] A^3/atom."""
    return np.asarray((pairs.volumes * np.trace(pairs.strains, axis1=2, axis2=3)).mean(1))


def _with_pressure(text: str, pressure: float) -> str:
    offset = (f"the stress of all frames were {abs(pressure):.2g} eV/A^3 {'less' if pressure < 0 else 'more'} in x, y "
              "and z (a Pulay stress, as energies at a fixed plane-wave cutoff have it?)")
    return f"{text} and {offset}" if text else offset


def _exchange(*order: int) -> Change:
    """Components yz, xz and xy taken from those places of (yz, xz, xy)."""
    def change(virials: np.ndarray) -> np.ndarray:
        changed = virials.copy()
        for (i, j), k in zip(SHEARS, order, strict=True):
            changed[..., i, j] = changed[..., j, i] = virials[(..., *SHEARS[k])]
        return changed
    return change


def _shears_turned(virials: np.ndarray) -> np.ndarray:
    return np.asarray(np.where(np.eye(3, dtype=bool), virials, -virials))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


SHEARS = ((1, 2), (0, 2), (0, 1))
CHANGES: tuple[tuple[str, Change], ...] = (
    ("", lambda virials: virials),
    ("they had the other sign", lambda virials: -virials),
    ("yz and xz were exchanged", _exchange(1, 0, 2)),
    ("yz and xy were exchanged", _exchange(2, 1, 0)),
    ("xz and xy were exchanged", _exchange(0, 2, 1)),
    ("yz, xz, xy were xz, xy, yz", _exchange(1, 2, 0)),
    ("yz, xz, xy were xy, yz, xz", _exchange(2, 0, 1)),
    ("yz, xz and xy had the other sign", _shears_turned),
)
