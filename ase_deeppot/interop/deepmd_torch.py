"""DeePMD-kit's PyTorch files: frozen ``.pth``, training checkpoint ``.pt``; settings as JSON, numbers by name."""

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from ase_deeppot.errors import ModelFileError
from ase_deeppot.interop import refusals
from ase_deeppot.interop.deepmd_tree import (
    by_centre,
    first_bias,
    is_single,
    of_head,
    pairs,
    parameters,
    parts_of,
    positive,
    statistics,
    vacuum,
)
from ase_deeppot.interop.foreign import Descriptor, Fitting, ForeignModel, Layer
from ase_deeppot.interop.torchscript import read_attributes

State = Mapping[str, Any]


def read_frozen(archive: zipfile.ZipFile, head: str | None) -> ForeignModel:
    """A frozen ``.pth``, compressed or not: the nets that were compressed are still inside."""
    attributes = read_attributes(archive)
    script = attributes.get("model_def_script")
    if not isinstance(script, str):
        raise ModelFileError("expected an ase_deeppot or DeePMD-kit model, got a TorchScript archive of something else")
    settings = of_head(json.loads(script), "model_dict", head)
    return _model(settings, _below(attributes, "atomic_model."), attributes.get("min_nbor_dist"), "frozen .pth")


def read_checkpoint(content: bytes, head: str | None) -> ForeignModel:
    """A training checkpoint ``.pt``."""
    saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    state = saved.get("model", saved) if isinstance(saved, dict) else {}
    settings = state.get("_extra_state", {}).get("model_params") if isinstance(state, dict) else None
    if not isinstance(settings, Mapping):
        raise ModelFileError("expected a DeePMD-kit checkpoint, got a PyTorch file of something else")
    branch = head if "model_dict" in settings else "Default"
    chosen = of_head(settings, "model_dict", head)
    numbers = _below(state, f"model.{branch}.atomic_model.")
    return _model(chosen, numbers, state.get(f"model.{branch}.min_nbor_dist"), "checkpoint .pt")


def _below(state: State, prefix: str) -> State:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _model(settings: State, state: State, nearest: Any, kind: str) -> ForeignModel:
    refusals.check_model_type(settings.get("type"))
    if settings.get("spin") is not None:
        raise ModelFileError(f"a model with spin cannot be read; {refusals.INSTEAD}")
    numbers = {key: value.detach().to(torch.float64 if value.is_floating_point() else value.dtype).numpy()
               for key, value in state.items() if isinstance(value, torch.Tensor)}
    type_map = tuple(settings["type_map"])
    shape = settings["descriptor"]
    if isinstance(shape, str):
        raise ModelFileError(f"its descriptor is shared as {shape!r}, and not given; freeze that head with DeePMD-kit "
                             "first")
    return ForeignModel(
        type_map, _parts(shape, numbers), _fitting(settings.get("fitting_net", {}), numbers, len(type_map)),
        first_bias(numbers.get("out_bias"), len(type_map)), pairs(settings.get("pair_exclude_types")),
        tuple(int(t) for t in settings.get("atom_exclude_types") or ()), positive(nearest),
        {"software": "DeePMD-kit", "backend": "PyTorch", "format": kind},
    )


def _parts(settings: State, numbers: State) -> tuple[Descriptor, ...]:
    if settings["type"] != "hybrid":
        return (_descriptor(settings, _below(numbers, "descriptor.")),)
    return tuple(_descriptor(part, _below(numbers, f"descriptor.descrpt_list.{k}."))
                 for k, part in enumerate(parts_of(settings)))


def _descriptor(settings: State, numbers: State) -> Descriptor:
    kind = refusals.descriptor_kind(settings["type"])
    refusals.check_protection(settings.get("env_protection"))
    own = _below(numbers, "sea.") if kind == "se_e2_a" else numbers
    sel = tuple(int(n) for n in settings["sel"])
    # DeePMD-kit's defaults; se_e2_r has nets by neighbour alone
    one_side = kind == "se_e2_r" or bool(settings.get("type_one_side", False))
    nets = _nets(own, settings.get("activation_function", "tanh"), linear_end=False)
    if not nets:
        raise ModelFileError("its embedding nets are not in the file; use the file from before its compression")
    return Descriptor(
        kind, float(settings["rcut"]), float(settings["rcut_smth"]), sel, int(settings.get("axis_neuron", 4)), one_side,
        pairs(settings.get("exclude_types")), statistics(own["mean"], sel), statistics(own["stddev"], sel),
        by_centre(nets, len(sel), one_side), is_single(settings.get("precision")),
    )


def _fitting(settings: State, numbers: State, n_types: int) -> Fitting:
    refusals.check_fitting(settings.get("type"), settings)
    own = _below(numbers, "fitting_net.")
    nets = _nets(own, settings.get("activation_function", "tanh"), linear_end=True)
    default = settings.get("default_fparam")
    return Fitting(
        nets=tuple(nets) if len(nets) == n_types else tuple(nets[:1] * n_types),  # mixed types: one net for all
        bias=first_bias(own.get("bias_atom_e"), n_types),
        exclude_types=tuple(int(t) for t in settings.get("exclude_types") or ()),
        from_vacuum=vacuum(settings.get("atom_ener"), n_types),
        frame=parameters(own, "fparam"),
        atom=parameters(own, "aparam"),
        default_frame=None if default is None else tuple(float(value) for value in default),
        task=np.asarray(own.get("case_embd", ()), float).reshape(-1),
        single=is_single(settings.get("precision")),
    )


def _nets(numbers: State, activation: str, linear_end: bool) -> list[tuple[Layer, ...]]:
    """The nets by their place in the list, each by its layers."""
    places = sorted({tuple(map(int, found)) for name in numbers
                     for found in re.findall(r"filter_layers\.networks\.(\d+)\.layers\.(\d+)\.matrix$", name)})
    depth = max((layer for _, layer in places), default=-1)
    return [tuple(_layers(numbers, net, depth, activation, linear_end)) for net in sorted({net for net, _ in places})]


def _layers(numbers: State, net: int, depth: int, activation: str, linear_end: bool) -> Iterator[Layer]:
    for layer in range(depth + 1):
        own = _below(numbers, f"filter_layers.networks.{net}.layers.{layer}.")
        last = linear_end and layer == depth
        bias = own.get("bias", np.zeros(own["matrix"].shape[1]))
        yield Layer(own["matrix"], bias.reshape(-1), own.get("idt"), "none" if last else activation, not last)
