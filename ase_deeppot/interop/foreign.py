"""What a DeePMD-kit model is, whichever file it came in."""

from typing import NamedTuple

import numpy as np


class Layer(NamedTuple):
    """``y = shortcut(x) + idt * act(x W + b)``."""

    weight: np.ndarray  # [n_in, n_out]
    bias: np.ndarray  # [n_out]
    idt: np.ndarray | None  # [n_out]
    activation: str  # as their files spell it
    resnet: bool  # whether there is a shortcut where the widths allow it


class Descriptor(NamedTuple):
    """An environment matrix and its embedding nets."""

    kind: str  # "se_e2_a" or "se_e2_r"
    rcut: float  # A
    rcut_smth: float  # A
    sel: tuple[int, ...]  # slots for neighbours of each species
    axis_neuron: int
    type_one_side: bool
    exclude_types: tuple[tuple[int, int], ...]
    davg: np.ndarray  # [T, sum(sel), 4 or 1]
    dstd: np.ndarray  # [T, sum(sel), 4 or 1]
    nets: tuple[tuple[Layer, ...], ...]  # of each neighbour species; two-sided: of centre * T + neighbour
    single: bool  # whether the nets are in single precision
    absent: tuple[tuple[int, int], ...] = ()  # of exclude_types, centre first: of which empty slots add nothing either


class Parameters(NamedTuple):
    """Inputs of the fitting net beside the descriptor: ``(value - average) * inverse_spread``."""

    average: np.ndarray  # [n]
    inverse_spread: np.ndarray  # [n]


class Fitting(NamedTuple):
    """Fitting nets and what is added to them."""

    nets: tuple[tuple[Layer, ...], ...]  # of each species, the last layer linear
    bias: np.ndarray  # [T], eV
    exclude_types: tuple[int, ...]  # species without a net, and without this bias
    from_vacuum: tuple[bool, ...]  # whether what a species' net gives for a zero descriptor is subtracted
    frame: Parameters  # fparam
    atom: Parameters  # aparam
    default_frame: tuple[float, ...] | None  # fparam where none is given
    task: np.ndarray  # [n], constant inputs that tell tasks apart
    single: bool


class ForeignModel(NamedTuple):
    """A DeePMD-kit energy model."""

    type_map: tuple[str, ...]
    parts: tuple[Descriptor, ...]  # of the descriptor; more than one is a hybrid
    fitting: Fitting
    bias: np.ndarray  # [T], eV, added to all
    pair_exclude_types: tuple[tuple[int, int], ...]  # that do not see each other
    silent_types: tuple[int, ...]  # whose atoms have no energy
    min_nbor_dist: float | None  # A, smallest distance in their training data
    origin: dict  # software, version, backend, format: for the card

    @property
    def parameters(self) -> int:
        """Number of inputs of the fitting nets beside the descriptor."""
        return len(self.fitting.frame.average) + len(self.fitting.atom.average)


NO_PARAMETERS = Parameters(np.zeros(0), np.ones(0))


def has_timestep(nets: tuple[tuple[Layer, ...], ...]) -> bool:
    """Whether any of the layers has one."""
    return any(layer.idt is not None for net in nets for layer in net)
