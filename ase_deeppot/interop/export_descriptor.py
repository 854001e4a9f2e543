"""Descriptors as DeePMD-kit's trees: one, or several side by side in a hybrid."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ase_deeppot.errors import ModelFileError
from ase_deeppot.potential.config import HybridConfig, ModelConfig, SmoothConfig

ACTIVATIONS = {"gelu": "gelu_tf"}  # where the names differ
KINDS = {"smooth": "se_e2_a", "radial": "se_r"}
Tree = dict[str, Any]
Arrays = dict[str, np.ndarray]


class Part(NamedTuple):
    """One of the descriptors."""

    shape: SmoothConfig
    rcut: float  # A
    numbers: Arrays  # by name in ``SmoothDescriptor``
    excluded: frozenset[tuple[int, int]]  # species that do not see each other in this part alone

    @property
    def radial(self) -> bool:
        """Whether it knows distances alone."""
        return self.shape.kind == "radial"

    @property
    def width(self) -> int:
        """Number of components, without the constant that ours begins with if it is radial."""
        return self.shape.neuron[-1] * (1 if self.radial else self.shape.axis_neuron)

    @property
    def sel(self) -> list[int]:
        """Slots for neighbours of each species."""
        return [int(n) for n in self.numbers["sel"]]


def parts_of(config: ModelConfig, numbers: Arrays) -> tuple[list[Part], list[list[int]]]:
    """The descriptors of a model, and the pairs of species that do not see each other in any of them.

    Raises
    ------
    ModelFileError
        If one of them has no equal in DeePMD-kit.
    """
    shape = config.descriptor
    own: list[tuple[SmoothConfig, float, str]]
    if isinstance(shape, HybridConfig):
        own = [(part, part.rcut, f"descriptor.parts.{k}.") for k, part in enumerate(shape.parts)]
    elif isinstance(shape, SmoothConfig):
        own = [(shape, config.rcut, "descriptor.")]
    else:
        raise ModelFileError(f"a model with descriptor {shape.kind!r} cannot be exported, only with 'smooth' "
                             "(DeepPot-SE), 'radial' and 'hybrid'")
    every = [_excluded(config.type_map, part) for part, _, _ in own]
    common = frozenset.intersection(*every)
    parts = [Part(part, rcut, {key.removeprefix(prefix): value for key, value in numbers.items()
                               if key.startswith(prefix)}, excluded - common)
             for (part, rcut, prefix), excluded in zip(own, every, strict=True)]
    for part in parts:
        _check(part)
    return parts, [list(pair) for pair in sorted(common)]


def _excluded(type_map: Sequence[str], shape: SmoothConfig) -> frozenset[tuple[int, int]]:
    pairs = ((type_map.index(one), type_map.index(other)) for one, other in shape.exclude_types)
    return frozenset((min(pair), max(pair)) for pair in pairs)


def _check(part: Part) -> None:
    if part.shape.l_max > 1:
        raise ModelFileError(f"angular orders above 1, here {part.shape.l_max}, cannot be exported: DeePMD-kit has no "
                             "equal; train with descriptor.l_max = 1")
    sel = part.numbers["sel"]
    if (sel != np.round(sel)).any():
        raise ModelFileError(f"expected whole numbers of slots (sel), got {sel.tolist()}; DeePMD-kit has no fractions "
                             "of them")
    if part.excluded and part.numbers["davg"].any():
        raise ModelFileError("exclude_types that some parts of a hybrid descriptor have and others have not cannot be "
                             "exported where davg is not zero: there, DeePMD-kit's energy would jump")


def descriptor_tree(parts: Sequence[Part], type_map: Sequence[str], precision: str) -> Tree:
    """The descriptor, or a hybrid of several."""
    trees = [_part_tree(part, type_map, precision) for part in parts]
    return trees[0] if len(trees) == 1 else {"@class": "Descriptor", "type": "hybrid", "@version": 1, "list": trees}


def descriptor_settings(parts: Sequence[Part], precision: str) -> Tree:
    """What one would write to have such a descriptor trained."""
    lists = [_settings(part, precision) for part in parts]
    return lists[0] if len(lists) == 1 else {"type": "hybrid", "list": lists}


def _settings(part: Part, precision: str) -> Tree:
    shape = part.shape
    axis = {} if part.radial else {"axis_neuron": shape.axis_neuron}
    return {
        "type": KINDS[shape.kind], "sel": part.sel, "rcut": part.rcut, "rcut_smth": shape.rcut_smth,
        "neuron": list(shape.neuron), **axis, "resnet_dt": shape.resnet_dt, "type_one_side": shape.type_one_side,
        "activation_function": activation_name(shape.activation), "precision": precision,
        "exclude_types": [list(pair) for pair in sorted(part.excluded)]}


def _part_tree(part: Part, type_map: Sequence[str], precision: str) -> Tree:
    shape, n_types = part.shape, len(type_map)
    return {
        "@class": "Descriptor", "@version": 2, **_settings(part, precision), "set_davg_zero": False,
        "embeddings": {"@class": "NetworkCollection", "@version": 1, "ndim": 1 if shape.type_one_side else 2,
                       "ntypes": n_types, "network_type": "embedding_network",
                       "networks": _embeddings(part, n_types, precision)},
        "env_mat": {"rcut": part.rcut, "rcut_smth": shape.rcut_smth, "protection": 0.0, "use_exp_switch": False},
        "env_protection": 0.0, "@variables": _statistics(part), "type_map": list(type_map), "trainable": True,
        "spin": None,
    }


def _statistics(part: Part) -> Tree:
    """davg and dstd, for every slot."""
    davg, dstd = part.numbers["davg"], part.numbers["dstd"]
    rows = np.stack([davg, *[np.zeros_like(davg)] * 3]), np.stack([dstd[:, 0], *[dstd[:, 1]] * 3])
    columns = 1 if part.radial else 4
    return {name: np.repeat(values[:columns].T[:, None], sum(part.sel), axis=1)
            for name, values in zip(("davg", "dstd"), rows, strict=True)}


def _embeddings(part: Part, n_types: int, precision: str) -> list[Tree]:
    shape, numbers = part.shape, part.numbers
    order = (list(range(n_types)) if shape.type_one_side  # DeePMD-kit counts the centre fastest, here it is slowest
             else [centre * n_types + neighbor for neighbor in range(n_types) for centre in range(n_types)])
    activation, nets = activation_name(shape.activation), []
    for net in order:
        layers = [{name: numbers.get(f"embedding.layers.{n}.{name}") for name in ("weight", "bias", "idt")}
                  for n in range(len(shape.neuron))]
        own = [{name: None if value is None else value[net] for name, value in layer.items()} for layer in layers]
        nets.append({
            "@class": "EmbeddingNetwork", "@version": 2, "in_dim": 1, "neuron": list(shape.neuron),
            "activation_function": activation, "resnet_dt": shape.resnet_dt, "bias": True, "precision": precision,
            "layers": [layer_tree(layer, activation, True, precision) for layer in own]})
    return nets


def activation_name(name: str) -> str:
    """As DeePMD-kit has it."""
    return ACTIVATIONS.get(name, name)


def layer_tree(arrays: Tree, activation: str, resnet: bool, precision: str) -> Tree:
    """A layer of any net."""
    weight, bias, idt = (arrays[name] for name in ("weight", "bias", "idt"))
    return {"@class": "Layer", "@version": 2, "bias": True, "use_timestep": idt is not None,
            "activation_function": activation, "resnet": resnet, "precision": precision, "trainable": True,
            "@variables": {"w": weight, "b": bias, "idt": idt}}
