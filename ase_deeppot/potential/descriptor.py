"""What every descriptor has: numbers that depend on the structure alone, and a way from their derivative to forces."""

from typing import NamedTuple, Protocol, Tuple

from torch import Tensor


class Neighbors(NamedTuple):
    """Pairs as seen from their centres."""

    types: Tensor  # [N] int64, of the centres
    i: Tensor  # [E] int64, centre, ascending
    types_j: Tensor  # [E] int64, of the neighbour
    vectors: Tensor  # [E, 3] float64, A


class Structures(NamedTuple):
    """Some structures side by side, as their pairs."""

    types: Tensor  # [N] int64
    i: Tensor  # [E] int64, ascending
    j: Tensor  # [E] int64
    vectors: Tensor  # [E, 3] float64, A

    def neighbors(self) -> Neighbors:
        """The same pairs without their other end."""
        return Neighbors(self.types, self.i, self.types[self.j], self.vectors)


class Environment(NamedTuple):
    """What a model sees of N atoms, of several structures one after the other; independent of what is trained."""

    features: Tensor  # [N, ...]
    order: Tensor  # [N, S] int, which neighbour has which place; [N, 0] where all are summed over


class Geometry(Protocol):
    """The part of a descriptor that depends on the structure alone; hashable, equal ones give equal environments."""

    def environment(self, structures: Structures) -> Environment:
        """Environments of all atoms."""
        ...

    def forces_and_virials(self, structures: Structures, environment: Environment, k: Tensor) -> Tuple[Tensor, Tensor]:
        """Forces [N, 3], eV/A, and atomic virials [N, 3, 3], eV, from K = dE/dfeatures; linear, differentiable in K."""
        ...

    def describe(self, neighbors: Neighbors) -> Environment:
        """As ``environment``, of pairs that may belong to no structure."""
        ...

    def pair_gradient(self, neighbors: Neighbors, environment: Environment, k: Tensor) -> Tensor:
        """dE/dv of each pair, [E, 3] float64, eV/A, from K = dE/dfeatures; differentiable in K."""
        ...


class Sums(Geometry, Protocol):
    """One whose features are moments, sums over pairs."""

    def shape(self) -> Tuple[int, int, int]:
        """Y, T and the number of radial functions."""
        ...
