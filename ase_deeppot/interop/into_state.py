"""The numbers of a DeePMD-kit model, by their names in ours."""

import numpy as np
import torch
from torch import Tensor

from ase_deeppot.errors import ModelFileError
from ase_deeppot.interop.foreign import Descriptor, Fitting, ForeignModel, Layer, has_timestep
from ase_deeppot.interop.into_config import activation_of
from ase_deeppot.interop.refusals import INSTEAD
from ase_deeppot.potential.networks import activate

# The series reach down to half the smallest distance of the training data, where energies are tens of eV; but to this
# if that is not known, and no less far than the longest of chemical bonds.
REACH, FAR = 0.5, 0.9  # A
State = dict[str, Tensor]


def state_of(foreign: ForeignModel) -> State:
    """The numbers of the model, by their names in ours, float64.

    Raises
    ------
    ModelFileError
        If its layers have no equals here; the message names what.
    """
    reach = REACH if foreign.min_nbor_dist is None else min(FAR, 0.5 * foreign.min_nbor_dist)
    state = {"fitting_net.energy_bias": _energy_bias(foreign), **_fitting_state(foreign)}
    for k, part in enumerate(foreign.parts):
        own = {"s_max": np.array(1.0 / reach), **_part_state(part)}
        state |= {prefix(k, len(foreign.parts) > 1) + name: value for name, value in own.items()}
    return {name: torch.from_numpy(np.array(value, float)) for name, value in state.items()}


def prefix(k: int, hybrid: bool) -> str:
    """What the names of the k-th part's numbers begin with."""
    return f"descriptor.parts.{k}." if hybrid else "descriptor."


def _part_state(part: Descriptor) -> dict[str, np.ndarray]:
    state = {"davg": part.davg[:, 0, 0], "dstd": part.dstd[:, 0, [0, -1]], "sel": np.array(part.sel, float)}
    timestep = has_timestep(part.nets)
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
    if foreign.parameters:
        state |= {"fitting_net.parameter_mean": np.append(fitting.frame.average, fitting.atom.average),
                  "fitting_net.parameter_inverse": np.append(fitting.frame.inverse_spread, fitting.atom.inverse_spread)}
    timestep = has_timestep(fitting.nets)
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
    y = activate(torch.from_numpy(x @ layer.weight + layer.bias), activation_of(layer)).numpy()
    y = y if layer.idt is None else y * layer.idt
    copies = len(y) // len(x) if layer.resnet and len(y) in (len(x), 2 * len(x)) else 0
    return y + np.tile(x, copies) if copies else y
