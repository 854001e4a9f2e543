"""DeePMD-kit's documented file of a model (``.dp``): a tree in JSON, its arrays as HDF5 datasets."""

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ase_deeppot.errors import ModelFileError
from ase_deeppot.files import write_atomically
from ase_deeppot.interop.deepmd_tree import NATIVE
from ase_deeppot.potential.archive import Model, to_bytes
from ase_deeppot.potential.config import FittingNetConfig, ModelConfig, SmoothConfig
from ase_deeppot.potential.folding import series_error
from ase_deeppot.potential.smooth import SmoothDescriptor
from ase_deeppot.version import __version__

ACTIVATIONS = {"gelu": "gelu_tf"}  # where the names differ
Tree = dict[str, Any]
Arrays = dict[str, np.ndarray]


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
    return series_error(descriptor) if isinstance(descriptor, SmoothDescriptor) else 0.0


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
    shape = _smooth(config)
    numbers = _plain(config, {key: value.detach().cpu().numpy() for key, value in model.module.state_dict().items()})
    if numbers["descriptor.sel"].astype(int).astype(float).tolist() != numbers["descriptor.sel"].tolist():
        raise ModelFileError("expected whole numbers of slots (sel), got "
                             f"{numbers['descriptor.sel'].tolist()}; DeePMD-kit has no fractions of them")
    type_map = list(config.type_map)
    excluded = _excluded(config, shape)
    reach = 1.0 / float(numbers["descriptor.s_max"])
    return {
        "software": "ase-deeppot", "version": __version__, "time": datetime.now(UTC).isoformat(),
        "backend": "DPModel",
        "model": {
            "@class": "Model", "type": "standard", "@version": 2, "type_map": type_map, "atom_exclude_types": [],
            "pair_exclude_types": excluded, "rcond": None, "preset_out_bias": None,
            "@variables": {"out_bias": np.zeros((1, len(type_map), 1)), "out_std": np.ones((1, len(type_map), 1))},
            "descriptor": _descriptor(config, shape, numbers),
            "fitting": _fitting(config, shape, numbers),
        },
        "model_def_script": _script(config, shape, numbers, excluded),
        "@variables": {"min_nbor_dist": np.array(_closest(model, reach))},
    }


def _smooth(config: ModelConfig) -> SmoothConfig:
    shape = config.descriptor
    if isinstance(shape, SmoothConfig) and shape.kind == "smooth":
        if shape.l_max > 1:
            raise ModelFileError(f"a model with angular orders to {shape.l_max} cannot be exported: DeePMD-kit's "
                                 "se_e2_a ends at order 1; train with model.descriptor.l_max = 1")
        return shape
    raise ModelFileError(f"a model with descriptor {shape.kind!r} cannot be exported, only with 'smooth' (DeepPot-SE)")


def _plain(config: ModelConfig, numbers: Arrays) -> Arrays:
    """With nets that take the descriptor itself, where ours take it centred and scaled."""
    mean, scale = numbers["fitting_net.mean"], numbers["fitting_net.scale"]
    neuron, width = config.fitting_net.neuron, mean.shape[1]
    inputs = width + config.fitting_net.parameters
    if (mean.any() or scale != 1.0) and neuron and neuron[0] in (inputs, 2 * inputs):
        raise ModelFileError(f"a fitting net whose first layer keeps or doubles the width of its input, {inputs}, "
                             "cannot be exported: its shortcut takes the descriptor centred and scaled")
    result = dict(numbers)
    for t in range(len(config.type_map)):
        first = f"fitting_net.nets.{t}." + ("0.layers.0" if neuron else "1")
        weight = numbers[f"{first}.weight"].astype(float)  # [inputs, H]; of the output [1, inputs]
        of_descriptor = weight[:width] if neuron else weight[:, :width].T  # a view
        of_descriptor /= scale
        shift = mean[t] @ of_descriptor
        result[f"{first}.weight"] = weight.astype(numbers[f"{first}.weight"].dtype)
        result[f"{first}.bias"] = (numbers[f"{first}.bias"] - shift).astype(numbers[f"{first}.bias"].dtype)
    return result


def _closest(model: Model, reach: float) -> float:
    """Smallest distance in the training data, A; `dp compress` makes its tables down to it."""
    known = model.card.domain.smallest_distance.values()
    imported = model.card.training.get("imported", {}).get("min_nbor_dist")
    return min(known, default=imported or reach)


def _excluded(config: ModelConfig, shape: SmoothConfig) -> list[list[int]]:
    index = {symbol: t for t, symbol in enumerate(config.type_map)}
    return [[index[one], index[other]] for one, other in shape.exclude_types]


def _precision(config: ModelConfig) -> str:
    return config.precision


def _sel(numbers: Arrays) -> list[int]:
    return [int(n) for n in numbers["descriptor.sel"]]


def _descriptor(config: ModelConfig, shape: SmoothConfig, numbers: Arrays) -> Tree:
    sel, n_types = _sel(numbers), len(config.type_map)
    order = (list(range(n_types)) if shape.type_one_side  # DeePMD-kit counts the centre fastest, here it is slowest
             else [centre * n_types + neighbor for neighbor in range(n_types) for centre in range(n_types)])
    nets = []
    for net in order:
        layers = [{name: numbers.get(f"descriptor.embedding.layers.{n}.{name}") for name in ("weight", "bias", "idt")}
                  for n in range(len(shape.neuron))]
        own = [{name: None if value is None else value[net] for name, value in layer.items()} for layer in layers]
        nets.append({
            "@class": "EmbeddingNetwork", "@version": 2, "in_dim": 1, "neuron": list(shape.neuron),
            "activation_function": _activation(shape.activation), "resnet_dt": shape.resnet_dt, "bias": True,
            "precision": _precision(config),
            "layers": [_layer(layer, _activation(shape.activation), True, _precision(config)) for layer in own]})
    davg, dstd = (np.zeros((n_types, sum(sel), 4)) for _ in range(2))
    davg[:, :, 0], dstd[:, :, 0] = numbers["descriptor.davg"][:, None], numbers["descriptor.dstd"][:, :1]
    dstd[:, :, 1:] = numbers["descriptor.dstd"][:, 1][:, None, None]
    return {
        "@class": "Descriptor", "type": "se_e2_a", "@version": 2, "rcut": config.rcut, "rcut_smth": shape.rcut_smth,
        "sel": sel, "neuron": list(shape.neuron), "axis_neuron": shape.axis_neuron, "resnet_dt": shape.resnet_dt,
        "set_davg_zero": False, "activation_function": _activation(shape.activation), "precision": _precision(config),
        "embeddings": {"@class": "NetworkCollection", "@version": 1, "ndim": 1 if shape.type_one_side else 2,
                       "ntypes": n_types, "network_type": "embedding_network", "networks": nets},
        "env_mat": {"rcut": config.rcut, "rcut_smth": shape.rcut_smth, "protection": 0.0, "use_exp_switch": False},
        "exclude_types": [], "env_protection": 0.0, "@variables": {"davg": davg, "dstd": dstd},
        "type_map": list(config.type_map), "trainable": True, "type_one_side": shape.type_one_side, "spin": None,
    }


def _activation(name: str) -> str:
    return ACTIVATIONS.get(name, name)


def _layer(arrays: dict[str, Any], activation: str, resnet: bool, precision: str) -> Tree:
    weight, bias, idt = (arrays[name] for name in ("weight", "bias", "idt"))
    return {"@class": "Layer", "@version": 2, "bias": True, "use_timestep": idt is not None,
            "activation_function": activation, "resnet": resnet, "precision": precision, "trainable": True,
            "@variables": {"w": weight, "b": bias, "idt": idt}}


def _fitting(config: ModelConfig, descriptor: SmoothConfig, numbers: Arrays) -> Tree:
    shape, n_types, activation = config.fitting_net, len(config.type_map), _activation(config.fitting_net.activation)
    width = descriptor.neuron[-1] * descriptor.axis_neuron
    nets = []
    for t in range(n_types):
        prefix = f"fitting_net.nets.{t}"
        hidden = [{name: numbers.get(f"{prefix}.0.layers.{n}.{name}") for name in ("weight", "bias", "idt")}
                  for n in range(len(shape.neuron))]
        output = {"weight": numbers[f"{prefix}.1.weight"].T, "bias": numbers[f"{prefix}.1.bias"], "idt": None}
        nets.append({
            "@class": "FittingNetwork", "@version": 1, "in_dim": width + shape.parameters, "out_dim": 1,
            "neuron": list(shape.neuron), "activation_function": activation, "resnet_dt": shape.resnet_dt,
            "precision": _precision(config), "bias_out": True,
            "layers": [*(_layer(layer, activation, True, _precision(config)) for layer in hidden),
                       _layer(output, "none", False, _precision(config))]})
    return {
        "@class": "Fitting", "type": "ener", "@version": 4, "var_name": "energy", "ntypes": n_types,
        "dim_descrpt": width, "neuron": list(shape.neuron), "resnet_dt": shape.resnet_dt,
        **_parameters(config), "dim_case_embd": 0,
        "activation_function": activation, "precision": _precision(config),
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


def _script(config: ModelConfig, shape: SmoothConfig, numbers: Arrays, excluded: list[list[int]]) -> Tree:
    """The settings with which DeePMD-kit would train such a model."""
    return {
        "type_map": list(config.type_map), "pair_exclude_types": excluded, "type": "standard",
        "descriptor": {
            "type": "se_e2_a", "sel": _sel(numbers), "rcut": config.rcut, "rcut_smth": shape.rcut_smth,
            "neuron": list(shape.neuron), "axis_neuron": shape.axis_neuron, "resnet_dt": shape.resnet_dt,
            "type_one_side": shape.type_one_side, "activation_function": _activation(shape.activation),
            "precision": _precision(config)},
        "fitting_net": {
            "type": "ener", "neuron": list(config.fitting_net.neuron), "resnet_dt": config.fitting_net.resnet_dt,
            "activation_function": _activation(config.fitting_net.activation), "precision": _precision(config),
            **_parameters(config)},
    }
