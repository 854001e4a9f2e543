"""Which atoms a thread takes at a time."""

from typing import List, NamedTuple

import numpy as np

ATOMS_PER_GROUP = 128  # of one species: what is known of them stays near the processor


class Group(NamedTuple):
    """Atoms of one species."""

    species: int
    atoms: np.ndarray  # [n] int64


def groups(types: np.ndarray, n_types: int, threads: int) -> List[Group]:
    """Atoms by species, each species in equal groups, as many as give every thread the same work."""
    found = []
    for t in range(n_types):
        atoms = np.flatnonzero(types == t)
        count = min(len(atoms), threads * -(-len(atoms) // (threads * ATOMS_PER_GROUP)))
        found += [Group(t, part) for part in np.array_split(atoms, count)] if count else []
    return found
