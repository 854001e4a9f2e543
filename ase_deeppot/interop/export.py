"""DeePMD-kit's documented file of a model (``.dp``): a tree in JSON, its arrays as HDF5 datasets."""

import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ase_deeppot.errors import ModelFileError
from ase_deeppot.files import write_atomically
from ase_deeppot.interop.deepmd_tree import NATIVE
from ase_deeppot.interop.export_descriptor import (
    Arrays,
    Part,
    Tree,
    activation_name,
    descriptor_settings,
    descriptor_tree,
    layer_tree,
    parts_of,
)
from ase_deeppot.potential.archive import Model, to_bytes
from ase_deeppot.potential.config import FittingNetConfig, ModelConfig
from ase_deeppot.potential.folding import series_error
from ase_deeppot.potential.hybrid import smooth_parts
from ase_deeppot.potential.local_frame import LocalFrameDescriptor
from ase_deeppot.version import __version__


def export(model: Model, path: str | Path) -> float:
    """Write a model as DeePMD-kit's ``.dp``, whole or not at all.

    Returns
    -------
    float
        Largest difference between the embedding nets, which the file holds, and the series that stand for them here,
        relative to their range. What DeePMD-kit computes with the file differs from this model by as much.

    Raises
    ------
    ModelFileError
        If the model has no equal there; the message says why.
    OSError
        If the file cannot be written; a file that was there before is then untouched.
    """
    write_atomically(Path(path), to_dp(model))
    descriptor = model.module.descriptor
    assert not isinstance(descriptor, LocalFrameDescriptor)  # refused above
    return max(map(series_error, smooth_parts(descriptor)))


def to_dp(model: Model) -> bytes:
    """Content of the ``.dp`` file."""
    tree = _tree(model)
    buffer, count = io.BytesIO(), iter(range(10**9))
    with h5py.File(buffer, "w") as file:
        def stored(value: Any, variable: bool = False) -> Any:
            if isinstance(value, dict):
                return {key: stored(child, variable or key == "@variables") for key, child in value.items()}
            if isinstance(value, list) and not variable:
                return [stored(child) for child in value]
            if variable and value is not None:
                return file.create_dataset(f"variable_{next(count):04d}", data=value).name
            return value

        file.attrs["json"] = json.dumps(stored(tree), separators=(",", ":"))
        file[NATIVE] = np.frombuffer(to_bytes(model), np.uint8)
    return buffer.getvalue()


def _tree(model: Model) -> Tree:
    config = model.card.config
    if config.fitting_net.polynomial:
        raise ModelFileError("DeePMD-kit has no polynomials in place of fitting nets: export nets.pth, the model of "
                             "the same training with nets, where its descriptor.l_max is 1")
    numbers = {key: value.detach().cpu().numpy() for key, value in model.module.state_dict().items()}
    parts, excluded = parts_of(config, numbers)
    numbers = _plain(config, parts, numbers)
    type_map = list(config.type_map)
    return {
        "software": "ase-deeppot", "version": __version__, "time": datetime.now(UTC).isoformat(),
        "backend": "DPModel",
        "model": {
            "@class": "Model", "type": "standard", "@version": 2, "type_map": type_map, "atom_exclude_types": [],
            "pair_exclude_types": excluded, "rcond": None, "preset_out_bias": None,
            "@variables": {"out_bias": np.zeros((1, len(type_map), 1)), "out_std": np.ones((1, len(type_map), 1))},
            "descriptor": descriptor_tree(parts, type_map, config.precision),
            "fitting": _fitting(config, sum(part.width for part in parts), numbers),
        },
        "model_def_script": _script(config, parts, excluded),
        "@variables": {"min_nbor_dist": np.array(_closest(model, model.module.descriptor.reach))},
    }


def _plain(config: ModelConfig, parts: Sequence[Part], numbers: Arrays) -> Arrays:
    """With nets that take the descriptor itself, where ours take it centred and scaled.

    What our radial parts begin with, the constant 1, goes into the biases.
    """
    mean, scale = numbers["fitting_net.mean"], numbers["fitting_net.scale"]
    neuron, width = config.fitting_net.neuron, mean.shape[1]
    constants = _constants(parts)
    inputs = width + config.fitting_net.parameters
    moved = mean.any() or scale != 1.0 or constants
    if moved and neuron and any(neuron[0] in (n, 2 * n) for n in (inputs, inputs - len(constants))):
        raise ModelFileError("a fitting net whose first layer keeps or doubles the width of its input, "
                             f"{inputs - len(constants)}, cannot be exported: its shortcut takes the descriptor "
                             "centred and scaled")
    result = dict(numbers)
    for t in range(len(config.type_map)):
        first = f"fitting_net.nets.{t}." + ("0.layers.0" if neuron else "1")
        own, bias = numbers[f"{first}.weight"], numbers[f"{first}.bias"]
        weight = (own if neuron else own.T).astype(float)  # [inputs, H]
        weight[:width] /= scale
        shift = mean[t] @ weight[:width] - weight[constants].sum(0)
        weight = np.delete(weight, constants, axis=0).astype(own.dtype)
        result |= {f"{first}.weight": weight if neuron else weight.T,
                   f"{first}.bias": (bias - shift).astype(bias.dtype)}
    return result


def _constants(parts: Sequence[Part]) -> list[int]:
    """Where in the descriptor radial parts begin, with a constant."""
    places, at = [], 0
    for part in parts:
        places += [at] if part.radial else []
        at += part.width + part.radial
    return places


def _closest(model: Model, reach: float) -> float:
    """Smallest distance in the training data, A; `dp compress` makes its tables down to it."""
    known = model.card.domain.smallest_distance.values()
    imported = model.card.training.get("imported", {}).get("min_nbor_dist")
    return min(known, default=imported or reach)


def _fitting(config: ModelConfig, width: int, numbers: Arrays) -> Tree:
    shape, n_types = config.fitting_net, len(config.type_map)
    activation = activation_name(shape.activation)
    nets = []
    for t in range(n_types):
        prefix = f"fitting_net.nets.{t}"
        hidden = [{name: numbers.get(f"{prefix}.0.layers.{n}.{name}") for name in ("weight", "bias", "idt")}
                  for n in range(len(shape.neuron))]
        output = {"weight": numbers[f"{prefix}.1.weight"].T, "bias": numbers[f"{prefix}.1.bias"], "idt": None}
        nets.append({
            "@class": "FittingNetwork", "@version": 1, "in_dim": width + shape.parameters, "out_dim": 1,
            "neuron": list(shape.neuron), "activation_function": activation, "resnet_dt": shape.resnet_dt,
            "precision": config.precision, "bias_out": True,
            "layers": [*(layer_tree(layer, activation, True, config.precision) for layer in hidden),
                       layer_tree(output, "none", False, config.precision)]})
    return {
        "@class": "Fitting", "type": "ener", "@version": 4, "var_name": "energy", "ntypes": n_types,
        "dim_descrpt": width, "neuron": list(shape.neuron), "resnet_dt": shape.resnet_dt,
        **_parameters(config), "dim_case_embd": 0,
        "activation_function": activation, "precision": config.precision,
        "mixed_types": False, "rcond": None, "exclude_types": [], "type_map": list(config.type_map),
        "nets": {"@class": "NetworkCollection", "@version": 1, "ndim": 1, "ntypes": n_types,
                 "network_type": "fitting_network", "networks": nets},
        "@variables": {"bias_atom_e": numbers["fitting_net.energy_bias"][:, None], "case_embd": None,
                       **_parameter_statistics(shape, numbers)},
        "tot_ener_zero": False, "trainable": [True] * (len(shape.neuron) + 1), "layer_name": None,
        "use_aparam_as_mask": False, "spin": None, "dim_out": 1, "atom_ener": [],
    }


def _parameters(config: ModelConfig) -> Tree:
    """What the fitting nets take beside the descriptor."""
    shape = config.fitting_net
    return {"numb_fparam": shape.frame_parameters, "numb_aparam": shape.atom_parameters,
            "default_fparam": list(shape.default_frame_parameters) or None}


def _parameter_statistics(shape: FittingNetConfig, numbers: Arrays) -> Tree:
    split = shape.frame_parameters
    result: Tree = {}
    for name, of_all in (("avg", "parameter_mean"), ("inv_std", "parameter_inverse")):
        values = numbers.get(f"fitting_net.{of_all}", np.zeros(0))
        for kind, part in (("fparam", values[:split]), ("aparam", values[split:])):
            result[f"{kind}_{name}"] = part if len(part) else None
    return result


def _script(config: ModelConfig, parts: Sequence[Part], excluded: list[list[int]]) -> Tree:
    """The settings with which DeePMD-kit would train such a model."""
    return {
        "type_map": list(config.type_map), "pair_exclude_types": excluded, "type": "standard",
        "descriptor": descriptor_settings(parts, config.precision),
        "fitting_net": {
            "type": "ener", "neuron": list(config.fitting_net.neuron), "resnet_dt": config.fitting_net.resnet_dt,
            "activation_function": activation_name(config.fitting_net.activation), "precision": config.precision,
            **_parameters(config)},
    }
