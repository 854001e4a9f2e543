"""The shape of a model: what a user chooses, what a model file stores."""

from dataclasses import dataclass
from typing import Literal

from ase_deeppot.config import option
from ase_deeppot.errors import ConfigError
from ase_deeppot.structures import unknown_symbols

Precision = Literal["float64", "float32"]
Activation = Literal["tanh", "gelu", "silu", "softplus", "sigmoid", "linear"]
FittingActivation = Literal["tanh", "gelu", "silu", "softplus", "sigmoid", "linear", "relu", "relu6"]


@dataclass(frozen=True)
class DescriptorConfig:
    """DeepPot-SE descriptor ``D_i = (G^T R)(R^T G_<) / sum(sel)^2``."""

    kind: Literal["smooth", "radial"] = option("smooth", "smooth is DeepPot-SE; radial: without angles")
    rcut_smth: float = option(0.5, "distance from which the neighbours fade out, A")
    neuron: tuple[int, ...] = option((16, 32, 32), "widths of the embedding net")
    axis_neuron: int = option(8, "columns of the smaller embedding matrix")
    type_one_side: bool = option(True, "an embedding net per neighbour species; false: per pair of species")
    activation: Activation = option("tanh", "of the embedding net")
    resnet_dt: bool = option(False, "trained timestep on the embedding's residual layers")
    exclude_types: tuple[tuple[str, str], ...] = option((), "pairs of elements that do not see each other")
    order: int = option(16, "terms of the Chebyshev series that the embedding net is read as")


@dataclass(frozen=True)
class FittingNetConfig:
    """Net from the descriptor of an atom to its energy, one per species."""

    neuron: tuple[int, ...] = option((240, 240, 240), "widths of the fitting net")
    activation: FittingActivation = option("tanh", "of the fitting net")
    resnet_dt: bool = option(True, "trained timestep on its residual layers")
    frame_parameters: int = option(0, "inputs beside the descriptor, the same for all atoms", imported=True)
    atom_parameters: int = option(0, "inputs beside the descriptor, of each atom", imported=True)
    default_frame_parameters: tuple[float, ...] = option((), "for structures that have none", imported=True)

    @property
    def parameters(self) -> int:
        """Inputs beside the descriptor: first those of the frame, then those of the atom."""
        return self.frame_parameters + self.atom_parameters


@dataclass(frozen=True)
class ModelConfig:
    """A Deep Potential: species, cutoff, descriptor, fitting net, precision of the nets."""

    type_map: tuple[str, ...] = option((), "elements in the model's order; empty: those of the data")
    rcut: float = option(6.0, "cutoff, A; 6 suits liquids and oxides, molecules do with 5")
    precision: Precision = option("float64", "of the nets; float32 trains about twice as fast")
    descriptor: DescriptorConfig = option(DescriptorConfig, "what an atom sees of its neighbours")
    fitting_net: FittingNetConfig = option(FittingNetConfig, "from there to its energy")

    def __post_init__(self) -> None:
        _check(self)


def _check(config: ModelConfig) -> None:
    descriptor, fitting_net = config.descriptor, config.fitting_net
    unknown = unknown_symbols(config.type_map)
    excluded = sorted({symbol for pair in descriptor.exclude_types for symbol in pair})
    strangers = [symbol for symbol in excluded if symbol not in config.type_map] if config.type_map else []
    rules = (
        (not unknown, f"expected chemical symbols in type_map, got {unknown}"),
        (len(set(config.type_map)) == len(config.type_map), f"expected each element once in type_map, "
                                                            f"got {list(config.type_map)}"),
        (0.0 <= descriptor.rcut_smth < config.rcut, f"expected 0 <= rcut_smth < rcut, got rcut_smth = "
                                                    f"{descriptor.rcut_smth} and rcut = {config.rcut}"),
        (len(descriptor.neuron) > 0 and min(descriptor.neuron) > 0, "expected positive widths in "
                                                     f"descriptor.neuron, got {list(descriptor.neuron)}"),
        (not strangers, f"expected elements of the type map in exclude_types, got {strangers}"),
        (descriptor.order >= 2, f"expected descriptor.order >= 2, got {descriptor.order}"),
        (all(width > 0 for width in fitting_net.neuron), "expected positive widths in fitting_net.neuron, "
                                                         f"got {list(fitting_net.neuron)}"),
        (min(fitting_net.frame_parameters, fitting_net.atom_parameters) >= 0, "expected frame_parameters and "
         f"atom_parameters >= 0, got {fitting_net.frame_parameters} and {fitting_net.atom_parameters}"),
        (len(fitting_net.default_frame_parameters) in (0, fitting_net.frame_parameters), "expected "
         f"{fitting_net.frame_parameters} default frame parameters, got {fitting_net.default_frame_parameters}"),
        (1 <= descriptor.axis_neuron <= max(descriptor.neuron[-1:], default=0), "expected axis_neuron between 1 "
         f"and the last embedding width, got {descriptor.axis_neuron} and {list(descriptor.neuron)}"),
    )
    for holds, message in rules:
        if not holds:
            raise ConfigError(message)
