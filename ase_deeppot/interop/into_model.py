"""From a DeePMD-kit model to ours: the same nets, with the embedding read as a series that is exact to rounding."""

from dataclasses import fields, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from ase_deeppot.errors import ConfigError, ModelFileError
from ase_deeppot.interop.foreign import Descriptor, Fitting, ForeignModel, Layer
from ase_deeppot.interop.refusals import INSTEAD
from ase_deeppot.potential.archive import Model
from ase_deeppot.potential.card import ModelCard
from ase_deeppot.potential.config import (
    FittingNetConfig,
    HybridConfig,
    HybridPart,
    ModelConfig,
    Precision,
    SmoothConfig,
)
from ase_deeppot.potential.deep_potential import DeepPotential
from ase_deeppot.potential.folding import series_error
from ase_deeppot.potential.networks import activate
from ase_deeppot.potential.radial import smooth_descriptor
from ase_deeppot.structures import unknown_symbols
from ase_deeppot.version import __version__

ORDERS = (32, 48, 64, 96, 128, 192, 256)  # terms of a series, as many as it needs
EXACT = 1e-12  # relative to the range of the nets
ALLOWED = 1e-6  # a net that 256 terms do not follow to this is no smooth function
# The series reach down to half the smallest distance of the training data, where energies are tens of eV; but to this
# if that is not known, and no less far than the longest of chemical bonds.
REACH, FAR = 0.5, 0.9  # A
ACTIVATIONS = {"tanh": "tanh", "gelu": "gelu", "gelu_tf": "gelu", "silu": "silu", "softplus": "softplus",
               "sigmoid": "sigmoid", "relu": "relu", "relu6": "relu6", "linear": "linear", "none": "linear"}
KINDS = {"se_e2_a": "smooth", "se_e2_r": "radial"}
State = dict[str, Tensor]
Shape = TypeVar("Shape", SmoothConfig, HybridPart)


def to_model(foreign: ForeignModel, device: str = "cpu", dtype: Precision | None = None) -> Model:
    """The model that computes what DeePMD-kit computes with the foreign one.

    Raises
    ------
    ModelFileError
        If the foreign model is one that has no equal here; the message names what.
    """
    _check(foreign)
    config = _config(foreign, dtype)
    state = _state(foreign)
    config = _with_series(config, state)
    module = DeepPotential(config)
    module.load_state_dict({**module.state_dict(), **state})  # copies into the precision asked for
    sel = [list(part.sel) for part in foreign.parts]
    origin = {**foreign.origin, "sel": sel if len(sel) > 1 else sel[0], "min_nbor_dist": foreign.min_nbor_dist}
    card = ModelCard(config, training={"imported": origin}, package_version=__version__)
    return Model(module.to(device).eval(), card)


def _check(foreign: ForeignModel) -> None:
    strange = unknown_symbols(foreign.type_map)
    if strange:
        raise ModelFileError(f"expected chemical symbols in its type map, got {strange}: ASE's atoms are elements; "
                             "name its types after elements, each once")
    n, nets = len(foreign.type_map), len(foreign.fitting.nets)
    for part in foreign.parts:
        if len(part.sel) != n or nets != n:
            raise ModelFileError(f"expected sel and fitting nets for {n} species, got {len(part.sel)} and {nets}; a "
                                 "model with spin or type embedding cannot be read")
        _check_statistics(part)
    if any(foreign.fitting.from_vacuum) and _parameters(foreign):
        raise ModelFileError("atom_ener with fparam or aparam cannot be read: the energy of a lone atom depends on "
                             f"them; {INSTEAD}")


def _parameters(foreign: ForeignModel) -> int:
    return len(foreign.fitting.frame.average) + len(foreign.fitting.atom.average)


def _check_statistics(descriptor: Descriptor) -> None:
    """Refuse statistics that differ from slot to slot, or from x to y: no function of the environment."""
    davg, dstd = descriptor.davg, descriptor.dstd
    alike = all(np.ptp(part, axis=1).max(initial=0.0) == 0.0 for part in (davg, dstd))
    if not alike or davg[:, :, 1:].any() or (dstd[:, 0, 1:] != dstd[:, 0, -1:]).any():
        raise ModelFileError("its davg or dstd differ from slot to slot, or by direction, and cannot be read; "
                             f"{INSTEAD}")


def _config(foreign: ForeignModel, dtype: Precision | None) -> ModelConfig:
    fitting, rcut = foreign.fitting, max(part.rcut for part in foreign.parts)
    single = fitting.single and all(part.single for part in foreign.parts)
    try:
        shapes = [_shape(foreign, part) for part in foreign.parts]
        return ModelConfig(
            foreign.type_map, rcut, dtype or ("float32" if single else "float64"),
            _smooth(shapes[0]) if len(shapes) == 1 else HybridConfig(parts=tuple(shapes)),
            FittingNetConfig(_neuron(fitting.nets[0][:-1]), _activation(fitting.nets[0][:-1], "fitting"),  # type: ignore[arg-type]
                             _has_timestep(fitting.nets), frame_parameters=len(fitting.frame.average),
                             atom_parameters=len(fitting.atom.average),
                             default_frame_parameters=fitting.default_frame or ()))
    except ConfigError as error:
        raise ModelFileError(str(error)) from error


def _shape(foreign: ForeignModel, part: Descriptor) -> HybridPart:
    embedding = part.nets[0]
    return HybridPart(
        kind=KINDS[part.kind],  # type: ignore[arg-type]
        rcut=part.rcut, rcut_smth=part.rcut_smth, neuron=_neuron(embedding), axis_neuron=part.axis_neuron,
        l_max=1, type_one_side=part.type_one_side, activation=_activation(embedding, "embedding"),  # type: ignore[arg-type]
        resnet_dt=_has_timestep(part.nets), exclude_types=_excluded(foreign, part))


def _smooth(part: HybridPart) -> SmoothConfig:
    """The same outside of a hybrid."""
    return SmoothConfig(**{field.name: getattr(part, field.name) for field in fields(SmoothConfig)})


def _neuron(layers: tuple[Layer, ...]) -> tuple[int, ...]:
    return tuple(layer.weight.shape[1] for layer in layers)


def _activation(layers: tuple[Layer, ...], which: str) -> str:
    names = {ACTIVATIONS.get(layer.activation, layer.activation) for layer in layers} or {"tanh"}
    name = names.pop()
    if names or name not in ACTIVATIONS.values():
        raise ModelFileError(f"activation function {name!r} of its {which} nets cannot be read; {INSTEAD}")
    if which == "embedding" and name in ("relu", "relu6"):
        raise ModelFileError(f"activation function {name!r} of its embedding nets cannot be read: it has kinks, which "
                             f"the series that stands for the nets here does not follow; {INSTEAD}")
    return name


def _has_timestep(nets: tuple[tuple[Layer, ...], ...]) -> bool:
    return any(layer.idt is not None for net in nets for layer in net)


def _excluded(foreign: ForeignModel, descriptor: Descriptor) -> tuple[tuple[str, str], ...]:
    """Pairs of elements that do not see each other in this part, each once."""
    names = foreign.type_map
    for c, t in descriptor.exclude_types:
        if any(descriptor.davg[k, 0, 0] for k in (c, t)):
            raise ModelFileError(f"exclude_types ({names[c]}, {names[t]}) with a davg that is not zero cannot be read: "
                                 "its energy jumps whenever such a neighbour crosses the cutoff; train with "
                                 f"set_davg_zero, or {INSTEAD}")
    every = {tuple(sorted(pair)) for pair in (*descriptor.exclude_types, *foreign.pair_exclude_types)}
    return tuple((names[c], names[t]) for c, t in sorted(every))


def _with_series(config: ModelConfig, state: State) -> ModelConfig:
    """With as many terms in the series as make them exact."""
    shape = config.descriptor
    if isinstance(shape, HybridConfig):
        parts = tuple(_long_enough(part, part.rcut, config.type_map, _below(state, _prefix(k, True)))
                      for k, part in enumerate(shape.parts))
        return replace(config, descriptor=HybridConfig(parts=parts))
    assert isinstance(shape, SmoothConfig)  # as made above
    return replace(config, descriptor=_long_enough(shape, config.rcut, config.type_map, _below(state, "descriptor.")))


def _long_enough(shape: Shape, rcut: float, type_map: tuple[str, ...], state: State) -> Shape:
    error = np.inf
    for order in ORDERS:
        shape = replace(shape, order=order)
        descriptor = smooth_descriptor(shape, rcut, type_map, torch.float64)
        descriptor.load_state_dict({**descriptor.state_dict(), **state})
        error = series_error(descriptor)
        if error < EXACT:
            break
    if not error < ALLOWED:
        raise ModelFileError(f"its embedding nets are too sharp for {ORDERS[-1]} terms of a series, which differ from "
                             f"them by {error:.0e} of their range; {INSTEAD}")
    return shape


def _prefix(k: int, hybrid: bool) -> str:
    """What the names of the k-th part's numbers begin with."""
    return f"descriptor.parts.{k}." if hybrid else "descriptor."


def _below(state: State, prefix: str) -> State:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _state(foreign: ForeignModel) -> State:
    """The numbers of the model, by their names in ours, float64."""
    reach = REACH if foreign.min_nbor_dist is None else min(FAR, 0.5 * foreign.min_nbor_dist)
    state = {"fitting_net.energy_bias": _energy_bias(foreign), **_fitting_state(foreign)}
    for k, part in enumerate(foreign.parts):
        own = {"s_max": np.array(1.0 / reach), **_part_state(part)}
        state |= {_prefix(k, len(foreign.parts) > 1) + name: value for name, value in own.items()}
    return {name: torch.from_numpy(np.array(value, float)) for name, value in state.items()}


def _part_state(part: Descriptor) -> dict[str, np.ndarray]:
    state = {"davg": part.davg[:, 0, 0], "dstd": part.dstd[:, 0, [0, -1]], "sel": np.array(part.sel, float)}
    timestep = _has_timestep(part.nets)
    for n, same in enumerate(zip(*part.nets, strict=True)):
        each = [_layer(layer, timestep, "embedding") for layer in same]
        state |= {f"embedding.layers.{n}.{name}": np.stack([one[name] for one in each]) for name in each[0]}
    return state


def _layer(layer: Layer, timestep: bool, which: str) -> dict[str, np.ndarray]:
    """Arrays of one of our residual layers; timesteps of 1 where the others have theirs."""
    n_in, n_out = layer.weight.shape
    shortcut = n_out in (n_in, 2 * n_in)
    if shortcut and not layer.resnet:
        raise ModelFileError(f"a layer of its {which} nets from {n_in} to {n_out} without a shortcut cannot be read; "
                             f"{INSTEAD}")
    arrays = {"weight": layer.weight, "bias": layer.bias}
    if timestep and shortcut:
        arrays["idt"] = np.ones(n_out) if layer.idt is None else layer.idt
    elif layer.idt is not None:
        raise ModelFileError(f"a timestep on a layer of its {which} nets from {n_in} to {n_out} cannot be read; "
                             f"{INSTEAD}")
    return arrays


def _fitting_state(foreign: ForeignModel) -> dict[str, np.ndarray]:
    state: dict[str, np.ndarray] = {}
    fitting = foreign.fitting
    if _parameters(foreign):
        state |= {"fitting_net.parameter_mean": np.append(fitting.frame.average, fitting.atom.average),
                  "fitting_net.parameter_inverse": np.append(fitting.frame.inverse_spread, fitting.atom.inverse_spread)}
    timestep = _has_timestep(fitting.nets)
    nets = [_with_constants(foreign.parts, _with_task(fitting.task, net)) for net in fitting.nets]
    for t, (*hidden, output) in enumerate(nets):
        name = f"fitting_net.nets.{t}"
        for n, layer in enumerate(hidden):
            state |= {f"{name}.0.layers.{n}.{key}": value for key, value in _layer(layer, timestep, "fitting").items()}
        silent = t in fitting.exclude_types or t in foreign.silent_types
        state |= {f"{name}.1.weight": output.weight.T * (not silent), f"{name}.1.bias": output.bias * (not silent)}
    return state


def _with_task(task: np.ndarray, net: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """A fitting net whose last inputs, constants that tell tasks apart, have gone into its first bias."""
    if len(task) == 0:
        return net
    first, *rest = net
    n_in, n_out = first.weight.shape
    own = n_in - len(task)
    if rest and n_out in (n_in, 2 * n_in, own, 2 * own):
        raise ModelFileError(f"a first fitting layer from {n_in} to {n_out} with {len(task)} inputs that tell tasks "
                             f"apart cannot be read, for its shortcut; {INSTEAD}")
    return (first._replace(weight=first.weight[:own], bias=first.bias + task @ first.weight[own:]), *rest)


def _with_constants(parts: tuple[Descriptor, ...], net: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """A fitting net with inputs for the constants that our radial descriptors begin with, of no effect."""
    starts, at = [], 0
    for part in parts:
        starts += [at] if part.kind == "se_e2_r" else []
        at += part.nets[0][-1].weight.shape[1] * (1 if part.kind == "se_e2_r" else part.axis_neuron)
    first, *rest = net
    n_in, n_out = first.weight.shape
    ours = n_in + len(starts)
    if starts and rest and n_out in (n_in, 2 * n_in, ours, 2 * ours):
        raise ModelFileError(f"a radial descriptor with a first fitting layer from {n_in} to {n_out} cannot be read, "
                             f"for its shortcut; {INSTEAD}")
    return (first._replace(weight=np.insert(first.weight, starts, 0.0, axis=0)), *rest)


def _energy_bias(foreign: ForeignModel) -> np.ndarray:
    """What is added to the nets of the species, [T], eV."""
    fitting = foreign.fitting
    own = np.array([0.0 if t in fitting.exclude_types else fitting.bias[t] - _vacuum(fitting, t)
                    for t in range(len(foreign.type_map))])
    total = own + foreign.bias
    total[list(foreign.silent_types)] = 0.0
    return total


def _vacuum(fitting: Fitting, t: int) -> float:
    """What the net of a species gives for a zero descriptor, eV, where that is to be subtracted."""
    if not fitting.from_vacuum[t]:
        return 0.0
    x = np.concatenate([np.zeros(fitting.nets[t][0].weight.shape[0] - len(fitting.task)), fitting.task])
    for layer in fitting.nets[t]:
        x = _output(layer, x)
    return float(x[0])


def _output(layer: Layer, x: np.ndarray) -> np.ndarray:
    y = activate(torch.from_numpy(x @ layer.weight + layer.bias), ACTIVATIONS[layer.activation]).numpy()
    y = y if layer.idt is None else y * layer.idt
    copies = len(y) // len(x) if layer.resnet and len(y) in (len(x), 2 * len(x)) else 0
    return y + np.tile(x, copies) if copies else y
