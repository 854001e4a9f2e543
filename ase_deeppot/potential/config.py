"""The shape of a model: what a user chooses, what a model file stores."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Iterator, Literal, Tuple, Union

from ase_deeppot.errors import ConfigError
from ase_deeppot.structures import unknown_symbols

Precision = Literal["float64", "float32"]
Activation = Literal["tanh", "gelu", "silu", "softplus", "sigmoid"]
Rules = Iterator[Tuple[bool, str]]  # what must hold, and what to say if it does not


@dataclass(frozen=True)
class FittingNetConfig:
    """Net from the descriptor of an atom to its energy, one per species; the defaults are DeepPot-SE's."""

    neuron: tuple[int, ...] = (240, 240, 240)
    activation: Activation = "tanh"
    resnet_dt: bool = True  # trained timestep on layers of equal width
    shortcut: bool = True  # layers that keep or double the width add their input to their result

    def rules(self) -> Rules:
        """What must hold."""
        yield all(width > 0 for width in self.neuron), ("expected positive widths in fitting_net.neuron, "
                                                        f"got {list(self.neuron)}")


@dataclass(frozen=True)
class SmoothConfig:
    """DeepPot-SE descriptor ``D_i = (G^T R)(R^T G_<) / sum(sel)^2``."""

    FITTING_NET: ClassVar[FittingNetConfig] = FittingNetConfig()  # where none is given

    kind: Literal["smooth"] = "smooth"  # DeepPot-SE
    rcut_smth: float = 0.5  # A, where the switching function leaves 1
    neuron: tuple[int, ...] = (25, 50, 100)  # widths of the embedding net
    axis_neuron: int = 16  # columns of G_<
    type_one_side: bool = True  # an embedding net per neighbour species; False: per pair of species
    activation: Activation = "tanh"
    resnet_dt: bool = False  # trained timestep on the residual layers
    order: int = 32  # terms of the Chebyshev series that the embedding net is read as

    def rules(self, rcut: float, type_map: tuple[str, ...]) -> Rules:
        """What must hold."""
        yield 0.0 <= self.rcut_smth < rcut, ("expected 0 <= rcut_smth < rcut, got rcut_smth = "
                                             f"{self.rcut_smth} and rcut = {rcut}")
        yield len(self.neuron) > 0 and min(self.neuron) > 0, ("expected positive widths in descriptor.neuron, "
                                                              f"got {list(self.neuron)}")
        yield self.order >= 2, f"expected descriptor.order >= 2, got {self.order}"
        yield 1 <= self.axis_neuron <= max(self.neuron[-1:], default=0), (
            "expected axis_neuron between 1 and the last embedding width, got "
            f"{self.axis_neuron} and {list(self.neuron)}")


@dataclass(frozen=True)
class LocalFrameConfig:
    """DPMD descriptor: coordinates of the neighbours in a local frame, sorted by species and distance."""

    FITTING_NET: ClassVar[FittingNetConfig] = FittingNetConfig((240, 120, 60, 30, 10), "tanh", False, False)

    kind: Literal["local_frame"] = "local_frame"  # DPMD
    sel_a: dict[str, int] = field(default_factory=dict)  # neighbours with all coordinates, by element; empty: counted
    sel_r: dict[str, int] = field(default_factory=dict)  # farther ones, with 1/R only; empty: counted
    # By element of the centre: element and rank of both axis atoms; without an entry, the two nearest.
    axis_rule: dict[str, tuple[tuple[str, int], tuple[str, int]]] = field(default_factory=dict)

    def rules(self, rcut: float, type_map: tuple[str, ...]) -> Rules:
        """What must hold."""
        yield rcut > 0, f"expected rcut > 0, got {rcut}"
        for name, sel in (("sel_a", self.sel_a), ("sel_r", self.sel_r)):
            yield all(n >= 0 for n in sel.values()), f"expected numbers >= 0 in descriptor.{name}, got {sel}"
            yield not sel or not type_map or set(sel) == set(type_map), (
                f"expected an entry in descriptor.{name} for each of {', '.join(type_map)}, got {', '.join(sel)}")
        for centre, rule in self.axis_rule.items():
            named = {centre, *(element for element, _ in rule)}
            yield not type_map or named <= set(type_map), (
                f"expected elements of the model ({', '.join(type_map)}) in descriptor.axis_rule, got "
                f"{', '.join(sorted(named))}")
            yield min(rank for _, rank in rule) >= 0, f"expected ranks >= 0 in descriptor.axis_rule, got {list(rule)}"
            yield rule[0] != rule[1], f"expected two different axis atoms in descriptor.axis_rule, got {list(rule)}"


DescriptorConfig = Union[SmoothConfig, LocalFrameConfig]


@dataclass(frozen=True)
class ModelConfig:
    """A Deep Potential: species, cutoff, descriptor, fitting net, precision of the nets."""

    type_map: tuple[str, ...] = ()  # chemical symbols; empty: those of the training data
    rcut: float = 6.0  # A
    precision: Precision = "float64"  # of the nets; geometry and energy sums are always float64
    descriptor: DescriptorConfig = field(default_factory=SmoothConfig)
    fitting_net: FittingNetConfig = None  # type: ignore[assignment]  # the one the descriptor was published with

    def __post_init__(self) -> None:
        if self.fitting_net is None:
            object.__setattr__(self, "fitting_net", self.descriptor.FITTING_NET)
        _check(self)

    @classmethod
    def completed(cls, mapping: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a user wrote, with the defaults that depend on it."""
        descriptor, net = mapping.get("descriptor", {}), mapping.get("fitting_net", {})
        if not (isinstance(descriptor, Mapping) and isinstance(net, Mapping)):
            return mapping  # which parsing will refuse
        local = descriptor.get("kind", "smooth") == "local_frame"
        defaults = asdict((LocalFrameConfig if local else SmoothConfig).FITTING_NET)
        return {**mapping, "fitting_net": defaults | dict(net)}


def _check(config: ModelConfig) -> None:
    unknown = unknown_symbols(config.type_map)
    rules = (
        (not unknown, f"expected chemical symbols in type_map, got {unknown}"),
        (len(set(config.type_map)) == len(config.type_map), f"expected each element once in type_map, "
                                                            f"got {list(config.type_map)}"),
        *config.descriptor.rules(config.rcut, config.type_map),
        *config.fitting_net.rules(),
    )
    for holds, message in rules:
        if not holds:
            raise ConfigError(message)
