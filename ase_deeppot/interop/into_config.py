"""The configuration of ours that a DeePMD-kit model has."""

from dataclasses import fields

from ase_deeppot.errors import ConfigError, ModelFileError
from ase_deeppot.interop.foreign import Descriptor, ForeignModel, Layer, has_timestep
from ase_deeppot.interop.refusals import INSTEAD
from ase_deeppot.potential.config import (
    FittingNetConfig,
    HybridConfig,
    HybridPart,
    ModelConfig,
    Precision,
    SmoothConfig,
)
from ase_deeppot.species import bonds_in

ACTIVATIONS = {"tanh": "tanh", "gelu": "gelu", "gelu_tf": "gelu", "silu": "silu", "softplus": "softplus",
               "sigmoid": "sigmoid", "relu": "relu", "relu6": "relu6", "linear": "linear", "none": "linear"}
SILUT = ("silut", "custom_silu")  # the same by two names, each alone or with a threshold, as silut:3.0
KINDS = {"se_e2_a": "smooth", "se_e2_r": "radial"}


def config_of(foreign: ForeignModel, dtype: Precision | None) -> ModelConfig:
    """Its configuration, in the precision of the file if none is given; the length of the series is not chosen yet.

    Raises
    ------
    ModelFileError
        If there is none; the message names what.
    """
    fitting, rcut = foreign.fitting, max(part.rcut for part in foreign.parts)
    single = fitting.single and all(part.single for part in foreign.parts)
    try:
        shapes = [_shape(foreign, part) for part in foreign.parts]
        return ModelConfig(
            foreign.type_map, rcut, dtype or ("float32" if single else "float64"),
            _smooth(shapes[0]) if len(shapes) == 1 else HybridConfig(parts=tuple(shapes)),
            FittingNetConfig(_neuron(fitting.nets[0][:-1]), _activation(fitting.nets[0][:-1], "fitting"),
                             has_timestep(fitting.nets), frame_parameters=len(fitting.frame.average),
                             atom_parameters=len(fitting.atom.average),
                             default_frame_parameters=fitting.default_frame or ()),
            bonds_in(foreign.type_map))
    except ConfigError as error:
        raise ModelFileError(str(error)) from error


def _shape(foreign: ForeignModel, part: Descriptor) -> HybridPart:
    embedding = part.nets[0]
    return HybridPart(
        kind=KINDS[part.kind],  # type: ignore[arg-type]
        rcut=part.rcut, rcut_smth=part.rcut_smth, neuron=_neuron(embedding), axis_neuron=part.axis_neuron,
        l_max=1, type_one_side=part.type_one_side, activation=_activation(embedding, "embedding"),
        resnet_dt=has_timestep(part.nets), exclude_types=_excluded(foreign, part))


def _smooth(part: HybridPart) -> SmoothConfig:
    """The same outside of a hybrid."""
    return SmoothConfig(**{field.name: getattr(part, field.name) for field in fields(SmoothConfig)})


def _neuron(layers: tuple[Layer, ...]) -> tuple[int, ...]:
    return tuple(layer.weight.shape[1] for layer in layers)


def activation_of(layer: Layer) -> str:
    """The activation function as it is called here.

    Raises
    ------
    ModelFileError
        If there is none.
    """
    name, _, threshold = layer.activation.lower().partition(":")
    if name in SILUT:
        return f"silut:{float(threshold)!r}" if threshold and float(threshold) != 3.0 else "silut"
    if threshold or name not in ACTIVATIONS:
        raise ModelFileError(f"activation function {layer.activation!r} cannot be read; {INSTEAD}")
    return ACTIVATIONS[name]


def _activation(layers: tuple[Layer, ...], which: str) -> str:
    names = sorted(set(map(activation_of, layers)) or {"tanh"})
    if len(names) > 1:
        raise ModelFileError(f"{which} nets with several activation functions ({', '.join(names)}) cannot be read; "
                             f"{INSTEAD}")
    return names[0]


def _excluded(foreign: ForeignModel, descriptor: Descriptor) -> tuple[tuple[str, str], ...]:
    """Pairs of elements that do not see each other in this part, each once."""
    names = foreign.type_map
    for c, t in {pair for one in descriptor.exclude_types for pair in (one, one[::-1])} - set(descriptor.absent):
        if descriptor.davg[c, 0, 0]:
            raise ModelFileError(f"exclude_types ({names[c]}, {names[t]}) with a davg that is not zero cannot be read: "
                                 "its energy jumps whenever such a neighbour crosses the cutoff; train with "
                                 f"set_davg_zero, or {INSTEAD}")
    every = {tuple(sorted(pair)) for pair in (*descriptor.exclude_types, *foreign.pair_exclude_types)}
    return tuple((names[c], names[t]) for c, t in sorted(every))
