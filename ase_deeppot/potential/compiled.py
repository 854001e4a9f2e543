"""A model on a CPU in compiled loops, a group of atoms a thread."""

from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np
import torch

from ase_deeppot.neighbors import Pairs
from ase_deeppot.potential import kernels, packed_bispectrum
from ase_deeppot.potential.atom_groups import Group, groups
from ase_deeppot.potential.folded import FoldedPotential, FoldedProducts, FoldedSpecies
from ase_deeppot.potential.moments import Basis
from ase_deeppot.potential.packed_net import packed
from ase_deeppot.potential.packed_species import whole
from ase_deeppot.potential.prediction import Prediction
from ase_deeppot.potential.threads import Threads

PAIRS_PER_THREAD = 4_096  # fewer are done before a thread has woken up


class Part(NamedTuple):
    """``FoldedProducts`` of one part of the descriptor as the kernels take them."""

    matrices: kernels.Matrices
    columns: kernels.Columns


class Species(NamedTuple):
    """``FoldedSpecies`` as the kernels take it."""

    parts: List[Part]
    net: kernels.Net
    width: int  # number of products


class Described(NamedTuple):
    """What a part of the descriptor finds out about a group of atoms."""

    p: np.ndarray  # [n, Y, T, L], moments, then dE/dP
    y: np.ndarray  # [n, 4, R]
    higher: np.ndarray  # [n, Y - 4, Q]
    third: np.ndarray  # flat, what the bispectrum takes


class Environments(NamedTuple):
    """A structure as all groups see it."""

    types: np.ndarray  # [N] int64
    first: np.ndarray  # [N + 1] int64, first pair of each atom
    j: np.ndarray  # [E] int64
    vectors: np.ndarray  # [E, 3]
    extra: Optional[np.ndarray]  # [N, k], what the nets take beside the products


class CompiledEngine:
    """Runs a folded potential in as many threads as torch would use.

    Each thread takes a group of atoms all the way, from their neighbours to the forces: the groups need nothing of
    each other, and what one computes it finds in its cache.
    """

    def __init__(self, potential: FoldedPotential) -> None:
        self.n_types, self._extra = len(potential.species), potential.extra
        self._takes_parameters = len(potential.parameter_mean) > 0
        self.bases = [Basis(*basis) for basis in potential.bases]
        self.dtype = np.dtype(str(potential.dtype).removeprefix("torch."))
        self.species = [_for_kernels(species) for species in potential.species]  # type: ignore[arg-type]
        self._threads = Threads()
        self._rooms: Dict[Tuple[int, int], kernels.Blocks] = {}
        self._grouped: Tuple[np.ndarray, int, List[Group]] = np.zeros(0, np.int64), 0, []

    def evaluate(self, types: np.ndarray, pairs: Pairs, centres: Optional[int] = None,
                 parameters: Optional[np.ndarray] = None) -> Prediction:
        """See :class:`engine.Engine`."""
        n = len(types)
        first = np.searchsorted(pairs.i, np.arange(n + 1))
        structure = Environments(types, first, pairs.j, pairs.vectors, self._normalised(parameters, n))
        threads = max(1, min(torch.get_num_threads(), len(pairs.j) // PAIRS_PER_THREAD))
        every = self._same_groups(types[:centres], threads)
        partial = [_zero(n, self.n_types) for _ in range(threads)]
        most = int(np.diff(first).max(initial=0))

        def work(share: int) -> None:
            largest = max((len(group.atoms) for group in every[share::threads]), default=0)
            rooms = [self._room(share, k, largest, most * largest) for k in range(len(self.bases))]
            for group in every[share::threads]:
                self._evaluate_group(group, structure, rooms, partial[share])

        self._threads.run(work, threads)
        return _added(partial)

    def _normalised(self, parameters: Optional[np.ndarray], n: int) -> Optional[np.ndarray]:
        """Parameters as the nets take them; few models have any."""
        if parameters is None and not self._takes_parameters:
            return None
        return self._extra(None if parameters is None else torch.from_numpy(parameters), n).numpy()  # type: ignore[union-attr]

    def _same_groups(self, types: np.ndarray, threads: int) -> List[Group]:
        """Groups of these atoms, which from one step to the next are the same."""
        if self._grouped[1] != threads or not np.array_equal(self._grouped[0], types):
            self._grouped = types.copy(), threads, groups(types, self.n_types, threads)
        return self._grouped[2]

    def _room(self, share: int, k: int, atoms: int, pairs: int) -> kernels.Blocks:
        """Room for the neighbours of the largest group, which the groups of a thread use in turn, and later calls."""
        place = share, k  # each part of the descriptor has its own
        segments = self.n_types * atoms
        if place not in self._rooms or not kernels.suffices(self._rooms[place], segments, pairs):
            self._rooms[place] = kernels.new_blocks(segments, pairs + pairs // 8, self.dtype, self.bases[k].l_max)
        return self._rooms[place]

    def _evaluate_group(self, group: Group, structure: Environments, rooms: List[kernels.Blocks],
                        out: Prediction) -> None:
        """The model from top to bottom: neighbours, moments, products, fitting net, and back to the forces."""
        atoms, (parts, net, width) = group.atoms, self.species[group.species]
        types, first, j, vectors, extra = structure
        z = _net_input(width, extra, atoms, self.dtype)
        found = [_described(part, len(atoms), self.n_types, basis, self.dtype)
                 for part, basis in zip(parts, self.bases, strict=True)]
        every = list(zip(parts, self.bases, rooms, found, strict=True))
        for (matrices, columns), basis, room, (p, *rest) in every:
            kernels.describe(atoms, first, types, j, vectors, basis[1:5], out.closest[group.species], room, matrices,
                             columns, p, *rest, z)
        energies = np.empty(len(atoms))
        kernels.fitting_net(net, z, energies)
        for (matrices, columns), basis, room, (p, *rest) in every:
            kernels.add_forces(atoms, j, vectors, basis[1:5], room, matrices, columns, *rest, z, p, out.forces,
                               out.virials)
        out.energies[atoms] = energies


def _zero(n_atoms: int, n_types: int) -> Prediction:
    return Prediction(np.zeros(n_atoms), np.zeros((n_atoms, 3)), np.zeros((n_atoms, 3, 3)),
                      np.full((n_types, n_types), np.inf))


def _added(partial: List[Prediction]) -> Prediction:
    """What all threads found; the first one's arrays are used."""
    energies, forces, virials, closest = partial[0]
    for other in partial[1:]:
        energies += other.energies
        forces += other.forces
        virials += other.virials
        np.minimum(closest, other.closest, out=closest)
    return partial[0]


def _described(part: Part, n: int, n_types: int, basis: Basis, dtype: np.dtype) -> Described:
    """Room for what the loops find out about n atoms."""
    harmonics = (basis.l_max + 1) ** 2
    return Described(np.empty((n, harmonics, n_types, basis.order), dtype),
                     np.empty((n, 4, len(part.matrices.constant)), dtype),
                     np.empty((n, harmonics - 4, part.matrices.higher.shape[2]), dtype),
                     np.empty((harmonics - 1) * part.matrices.third.columns * whole(n), dtype))


def _net_input(width: int, extra: Optional[np.ndarray], atoms: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Room for the products, with what a model takes beside them, and zeros wherever loops go beyond."""
    n, n_in = len(atoms), width + (0 if extra is None else extra.shape[1])
    z = np.empty((kernels.padded(n), n_in + -n_in % kernels.LANES), dtype)
    z[n:], z[:, n_in:] = 0, 0
    if extra is not None:
        z[:n, width:n_in] = extra[atoms]
    return z


def _for_kernels(species: FoldedSpecies) -> Species:
    parts: List[Part] = []
    width = 0
    for products in species.parts:
        parts.append(_part(products, width))  # type: ignore[arg-type]
        width += products.width()  # type: ignore[operator]
    return Species(parts, packed(species.net, list(species.parts)), width)  # type: ignore[arg-type]


def _part(products: FoldedProducts, first: int) -> Part:
    radial, angular, constant, higher = (part.numpy() for part in (products.radial, products.angular,
                                                                   products.constant, products.higher))
    radial_t, angular_t, higher_t = map(_transposed, (radial, angular, higher))
    third = packed_bispectrum.packed(len(higher) + 1, products.bispectrum.low_axis.shape[1], str(radial.dtype))
    matrices = kernels.Matrices(radial, angular, constant, higher, radial_t, angular_t, higher_t,
                                _making_third(products), third)
    higher_at = first + len(products.upper)
    return Part(matrices, kernels.Columns(products.runs.numpy(), products.higher_axis, first, higher_at,
                                          first + products.width() - third.invariants))


def _making_third(products: FoldedProducts) -> np.ndarray:
    """Matrices [l, columns, T L] from moments to what the bispectrum takes, of the orders that couple."""
    low_axis, higher_axes = products.bispectrum.low_axis, products.bispectrum.higher_axes
    low = products.angular[:, : len(low_axis)] @ low_axis
    others = products.higher[: len(higher_axes), :, : higher_axes.shape[1]] @ higher_axes
    return _transposed(torch.cat([low[None], others]).numpy())


def _transposed(matrices: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(matrices.swapaxes(-1, -2))
