"""The shape of a model: what a user chooses, what a model file stores."""

import math
import typing
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from ase_deeppot.config import option
from ase_deeppot.errors import ConfigError
from ase_deeppot.species import of_other_bonds, unknown_species

Precision = Literal["float64", "float32"]
Activation = Literal["tanh", "gelu", "silu", "silut", "softplus", "sigmoid", "linear", "relu", "relu6"] | str
HIGHEST_ORDER = 6  # of the angular orders
Rules = Iterator[tuple[bool, str]]  # what must hold, and what to say if it does not


@dataclass(frozen=True)
class FittingNetConfig:
    """Net from the descriptor of an atom to its energy, one per species; the defaults are DeepPot-SE's."""

    neuron: tuple[int, ...] = option((240, 240, 240), "widths of the fitting net; for local frames [240, 120, 60, 30, "
                                                      "10]")
    activation: Activation = option("tanh", "of the fitting net; silut is silu up to 3 and a tanh beyond; silut:2.5, "
                                            "the same with 2.5")
    resnet_dt: bool = option(True, "trained timestep on its layers with a shortcut; false for local frames")
    shortcut: bool = option(True, "its layers that keep or double the width add their input; false for local frames")
    frame_parameters: int = option(0, "inputs beside the descriptor, the same for all atoms", imported=True)
    atom_parameters: int = option(0, "inputs beside the descriptor, of each atom", imported=True)
    default_frame_parameters: tuple[float, ...] = option((), "for structures that have none", imported=True)
    polynomial: tuple[tuple[int, int], ...] = option((), "pairs and terms of a cubic polynomial in place of the linear "
                                                         "output, of each species; training.monomials makes it",
                                                     imported=True)

    @property
    def parameters(self) -> int:
        """Inputs beside the descriptor: first those of the frame, then those of the atom."""
        return self.frame_parameters + self.atom_parameters

    def rules(self) -> Rules:
        """What must hold."""
        yield all(width > 0 for width in self.neuron), ("expected positive widths in fitting_net.neuron, "
                                                        f"got {list(self.neuron)}")
        yield _activation_rule("fitting_net.activation", self.activation)
        yield min(self.frame_parameters, self.atom_parameters) >= 0, (
            f"expected frame_parameters and atom_parameters >= 0, got {self.frame_parameters} and "
            f"{self.atom_parameters}")
        yield len(self.default_frame_parameters) in (0, self.frame_parameters), (
            f"expected {self.frame_parameters} default frame parameters, got {self.default_frame_parameters}")
        yield not self.polynomial or len(self.neuron) > 0, "expected a layer before the polynomial, got none"


@dataclass(frozen=True)
class SmoothConfig:
    """DeepPot-SE descriptor ``D_i = (G^T R)(R^T G_<) / sum(sel)^2``, and the same of higher angular orders."""

    FITTING_NET: ClassVar[FittingNetConfig] = FittingNetConfig()  # where none is given

    kind: Literal["smooth", "radial"] = option("smooth", "smooth is DeepPot-SE, radial the same without angles, "
                                                            "local_frame is DPMD")
    rcut_smth: float = option(0.5, "distance from which the neighbours fade out, A")
    neuron: tuple[int, ...] = option((16, 32, 32), "widths of the embedding net")
    axis_neuron: int = option(8, "columns of the smaller embedding matrix")
    l_max: int = option(3, "highest angular order, 1 to 6; 1 is DeepPot-SE as published, 3 sees most, more "
                              "helps where few frames of a metal are all there is")
    higher_neuron: int = option(16, "columns of the embedding that orders above 1 take, the first ones, or all")
    higher_axis_neuron: int = option(4, "of these, columns of the smaller matrix")
    bispectrum_neuron: int = option(0, "columns of the embedding whose third-order invariants, of three neighbours at "
                                       "a time, are taken too; 4 makes forces of molecules better; 0: none")
    type_one_side: bool = option(True, "an embedding net per neighbour species; false: per pair of species")
    activation: Activation = option("tanh", "of the embedding net; the kinks of relu, relu6 and silut are smoothed by "
                                            "its series")
    resnet_dt: bool = option(False, "trained timestep on the embedding's residual layers")
    exclude_types: tuple[tuple[str, str], ...] = option((), "pairs of elements that do not see each other")
    order: int = option(16, "terms of the Chebyshev series that the embedding net is read as")

    def __post_init__(self) -> None:
        if self.kind == "radial":
            object.__setattr__(self, "l_max", 1)  # it sees no angles

    def rules(self, rcut: float, type_map: tuple[str, ...]) -> Rules:
        """What must hold."""
        yield 0.0 <= self.rcut_smth < rcut, ("expected 0 <= rcut_smth < rcut, got rcut_smth = "
                                             f"{self.rcut_smth} and rcut = {rcut}")
        yield len(self.neuron) > 0 and min(self.neuron) > 0, ("expected positive widths in descriptor.neuron, "
                                                              f"got {list(self.neuron)}")
        yield _activation_rule("descriptor.activation", self.activation)
        excluded = sorted({symbol for pair in self.exclude_types for symbol in pair})
        strangers = [symbol for symbol in excluded if symbol not in type_map] if type_map else []
        yield not strangers, f"expected elements of the type map in exclude_types, got {strangers}"
        yield self.order >= 2 or self.order == 0, f"expected descriptor.order >= 2, got {self.order}"  # 0: no series
        yield 1 <= self.axis_neuron <= max(self.neuron[-1:], default=0), (
            "expected axis_neuron between 1 and the last embedding width, got "
            f"{self.axis_neuron} and {list(self.neuron)}")
        yield from self._angular_rules()

    def _angular_rules(self) -> Rules:
        yield 1 <= self.l_max <= HIGHEST_ORDER, f"expected descriptor.l_max from 1 to {HIGHEST_ORDER}, got {self.l_max}"
        yield min(self.higher_neuron, self.higher_axis_neuron) >= 1, (
            f"expected higher_neuron and higher_axis_neuron >= 1, got {self.higher_neuron} and "
            f"{self.higher_axis_neuron}")
        most = min(self.axes) if self.l_max > 1 and self.neuron else 0
        yield 0 <= self.bispectrum_neuron <= most, (
            f"expected bispectrum_neuron from 0 to {most}, as many as all angular orders have in the smaller matrix"
            f"{'' if most else ', and l_max is at least 2'}, got {self.bispectrum_neuron}")

    @property
    def columns(self) -> tuple[int, ...]:
        """Columns of the embedding that each part of the descriptor takes: orders 0 and 1, then each higher one."""
        return self.neuron[-1], *[min(self.higher_neuron, self.neuron[-1])] * (self.l_max - 1)

    @property
    def axes(self) -> tuple[int, ...]:
        """Columns of the smaller matrix of each part."""
        return self.axis_neuron, *(min(self.higher_axis_neuron, width) for width in self.columns[1:])


@dataclass(frozen=True)
class LocalFrameConfig:
    """DPMD descriptor: coordinates of the neighbours in a local frame, sorted by species and distance."""

    FITTING_NET: ClassVar[FittingNetConfig] = FittingNetConfig((240, 120, 60, 30, 10), "tanh", False, False)

    kind: Literal["local_frame"] = option("local_frame", "DPMD: local frames, sorted neighbours, a sharp cutoff")
    sel_a: dict[str, int] = option(dict, "number of nearest neighbours with all coordinates, by element, as "
                                         "{ O = 16, H = 32 }; empty: those within 3/4 of rcut, and a tenth more")
    sel_r: dict[str, int] = option(dict, "number of farther ones with 1/R only; empty: all others, and a tenth more")
    axis_rule: dict[str, tuple[tuple[str, int], tuple[str, int]]] = option(
        dict, "element and rank from 0 of both axis atoms, by element of the centre, as { O = [[\"H\", 0], [\"H\", 1]] "
              "}; without an entry, the two nearest neighbours")

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


@dataclass(frozen=True)
class HybridPart(SmoothConfig):
    """One of several descriptors side by side."""

    rcut: float = option(6.0, "cutoff of this part, A")


@dataclass(frozen=True)
class HybridConfig:
    """Several smooth or radial descriptors side by side, each with a cutoff of its own."""

    FITTING_NET: ClassVar[FittingNetConfig] = FittingNetConfig()

    kind: Literal["hybrid"] = option("hybrid", "several smooth or radial descriptors side by side")
    parts: tuple[HybridPart, ...] = option((), "options of kind smooth or radial each, and a cutoff rcut, of which the "
                                               "largest is the model's")

    def rules(self, rcut: float, type_map: tuple[str, ...]) -> Rules:
        """What must hold."""
        yield len(self.parts) > 0, "expected some parts in a descriptor of kind hybrid, got none"
        largest = max((part.rcut for part in self.parts), default=rcut)
        yield largest == rcut, f"expected rcut = {largest}, the largest of the descriptor's parts, got {rcut}"
        for part in self.parts:
            yield from part.rules(part.rcut, type_map)


DescriptorConfig = SmoothConfig | LocalFrameConfig | HybridConfig


@dataclass(frozen=True)
class ModelConfig:
    """A Deep Potential: species, cutoff, descriptor, fitting net, precision of the nets."""

    type_map: tuple[str, ...] = option((), "species in the model's order; empty: those of the data")
    rcut: float = option(6.0, "cutoff, A; 6 suits liquids and oxides, molecules do with 5")
    precision: Precision = option("float64", "of the nets; float32 trains about twice as fast")
    descriptor: DescriptorConfig = option(SmoothConfig, "what an atom sees of its neighbours")
    fitting_net: FittingNetConfig = option(None, "from there to its energy; that of the descriptor's paper by default")
    bonds: int = option(0, "0: the species of an atom is its element; 1: and what it is bonded to; 2: and what that is "
                           "bonded to, and so on; makes errors of molecules smaller, which must keep their bonds then")

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


def _activation_rule(option: str, name: str) -> tuple[bool, str]:
    names = typing.get_args(typing.get_args(Activation)[0])
    return name in names or _has_threshold(name), (
        f"expected one of {', '.join(names)}, or silut:2.5 for a threshold of 2.5 (-100 at least), for {option}, got "
        f"{name!r}")


def _has_threshold(name: str) -> bool:
    start, _, threshold = name.partition(":")
    try:
        return start == "silut" and -100.0 <= float(threshold) < math.inf
    except ValueError:
        return False


def _check(config: ModelConfig) -> None:
    unknown, others = unknown_species(config.type_map), of_other_bonds(config.type_map, config.bonds)
    rules = (
        (config.bonds >= 0, f"expected bonds >= 0, got {config.bonds}"),
        (not unknown, f"expected chemical symbols in type_map, or names like C(CHH), got {unknown}"),
        (not others, f"expected names of species with bonds = {config.bonds} in type_map, got {others}: leave type_map "
                     "out to have those of the data"),
        (len(set(config.type_map)) == len(config.type_map), f"expected each species once in type_map, "
                                                            f"got {list(config.type_map)}"),
        *config.descriptor.rules(config.rcut, config.type_map),
        *config.fitting_net.rules(),
        (len(config.fitting_net.polynomial) in (0, len(config.type_map)),
         f"expected a polynomial for each of {', '.join(config.type_map)}, got {len(config.fitting_net.polynomial)}"),
        (config.descriptor.kind != "local_frame" or config.fitting_net.parameters == 0,
         "expected no frame_parameters or atom_parameters in a model of local frames, got some"),
    )
    for holds, message in rules:
        if not holds:
            raise ConfigError(message)
