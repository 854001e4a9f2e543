"""A model on a GPU, its sums over pairs in kernels, a group of atoms at a time."""

from typing import Any, List, NamedTuple, Optional

import numpy as np
import torch
from torch import Tensor

from ase_deeppot.potential.archive import as_written, script
from ase_deeppot.potential.folded import FoldedPotential
from ase_deeppot.potential.moments import Basis
from ase_deeppot.potential.on_gpu.environments import Environments
from ase_deeppot.potential.on_gpu.forces import add_forces
from ase_deeppot.potential.on_gpu.moments import moments
from ase_deeppot.potential.on_gpu.recording import Given, Recorded, current
from ase_deeppot.potential.prediction import Prediction
from ase_deeppot.potential.sums import Sums, prediction, zero_sums

ATOMS_PER_GROUP = 32_768  # enough to fill a large GPU; 10 to 50 kB each
LAUNCHES_MATTER = 8_192  # atoms, up to which the GPU would wait for them
CALLS = 5  # for the same atoms, before a recording pays


class Centres(NamedTuple):
    """A group of atoms that have energies."""

    place: slice  # in the structure
    of_species: List[Tensor]  # [T][n_t] int64, those of each species, places in the group


class SameAtoms(NamedTuple):
    """What the kernels are told of the atoms, which from one step to the next are the same; on the device."""

    types: np.ndarray  # [N] int64, on the host, to compare with
    centres: int
    species: Tensor  # [N] int32
    groups: List[Centres]
    of_species: List[Tensor]  # [T][n_t] int64, all atoms of each species


class GpuEngine:
    """Runs a folded potential. Forces and virials are added up in no fixed order: they vary by rounding errors.

    What a step of a small structure takes is the launching of some hundred kernels. When the same atoms are seen for
    some time, they are recorded, and launched together.
    """

    def __init__(self, potential: FoldedPotential, device: torch.device,
                 atoms_per_group: int = ATOMS_PER_GROUP) -> None:
        self.potential, self.device, self.atoms_per_group = potential, device, atoms_per_group
        self.bases = [Basis(*basis) for basis in potential.bases]
        self._scripted = script(potential)  # small structures wait for Python otherwise
        self._atoms: Optional[SameAtoms] = None
        self._calls = 0  # for these atoms
        self._recorded: Optional[Recorded] = None

    @torch.inference_mode()
    def evaluate(self, types: np.ndarray, pairs: Any, centres: Optional[int] = None,
                 parameters: Optional[np.ndarray] = None) -> Prediction:
        """See :class:`engine.Engine`; takes pairs that are on the device, too."""
        with current(self.device):
            atoms = self._same_atoms(types, len(types) if centres is None else centres)
            i, j, vectors = (torch.as_tensor(part, device=self.device) for part in (pairs.i, pairs.j, pairs.vectors))
            own = None if parameters is None else torch.from_numpy(parameters).to(self.device)
            flat = self._found(atoms, Given(i.int(), j.int(), vectors, own))
            return prediction(flat, len(types), len(self.potential.species))

    def _same_atoms(self, types: np.ndarray, centres: int) -> SameAtoms:
        """These atoms on the device; a recording for others is of no use."""
        atoms = self._atoms
        if atoms is None or atoms.centres != centres or not np.array_equal(atoms.types, types):
            self._atoms = atoms = self._on_device(types.copy(), centres)
            self._calls, self._recorded = 0, None
        self._calls += 1
        return atoms

    def _on_device(self, types: np.ndarray, centres: int) -> SameAtoms:
        def of_species(part: np.ndarray) -> List[Tensor]:
            return [torch.from_numpy(np.flatnonzero(part == t)).to(self.device)
                    for t in range(len(self.potential.species))]

        starts = range(0, centres, self.atoms_per_group)
        places = [slice(start, min(centres, start + self.atoms_per_group)) for start in starts]
        return SameAtoms(types, centres, torch.from_numpy(types).to(self.device).int(),
                         [Centres(place, of_species(types[place])) for place in places], of_species(types))

    def _found(self, atoms: SameAtoms, given: Given) -> Tensor:
        """`Sums.flat`, by a recording wherever that pays."""
        if self.device.type != "cuda" or len(atoms.types) > LAUNCHES_MATTER or self._calls <= CALLS:
            return self._evaluate(atoms, given)
        if self._recorded is None or not self._recorded.takes(given):
            self._recorded = None  # whose memory the next one may have
            self._recorded = Recorded(lambda again: self._evaluate(atoms, again), given)
        return self._recorded(given)

    def _evaluate(self, atoms: SameAtoms, given: Given) -> Tensor:
        """All groups, one after the other; pairs beyond the last atom's count for nothing."""
        i, parameters = given.i, given.parameters
        first = torch.searchsorted(i, torch.arange(atoms.centres + 1, dtype=i.dtype, device=self.device))
        structure = Environments(first, given.j, atoms.species, given.vectors)
        sums = zero_sums(len(atoms.types), len(self.potential.species), self.device)
        for group in atoms.groups:
            self._evaluate_group(group, structure, None if parameters is None else parameters[group.place], sums)
        return sums.flat(atoms.of_species)

    def _evaluate_group(self, group: Centres, structure: Environments, parameters: Optional[Tensor],
                        sums: Sums) -> None:
        """The model from top to bottom: moments, products, fitting net, and back to the forces."""
        place = group.place
        own = structure._replace(first=structure.first[place.start : place.stop + 1])
        n_types = len(self.potential.species)
        p, closest = zip(*(moments(basis, n_types, own, self.potential.dtype) for basis in self.bases), strict=True)
        sums.closest[place] = torch.stack(closest).amin(dim=0)
        with as_written():
            energies, k = self._scripted.respond(group.of_species, list(p), parameters)  # type: ignore[operator]
        sums.energies[place] = energies
        for basis, of_part in zip(self.bases, k, strict=True):
            add_forces(basis, own, of_part, place.start, sums.forces, sums.virials)
