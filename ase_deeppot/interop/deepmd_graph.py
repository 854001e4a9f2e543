"""DeePMD-kit's TensorFlow models, frozen ``.pb`` and ``.pbtxt``: constants by the names that it gives its nodes."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ase_deeppot.errors import ModelFileError
from ase_deeppot.interop import refusals
from ase_deeppot.interop.deepmd_tree import pairs, positive, vacuum
from ase_deeppot.interop.foreign import NO_PARAMETERS, Descriptor, Fitting, ForeignModel, Layer, Parameters
from ase_deeppot.interop.graph import Node

ENVIRONMENTS = {"ProdEnvMatA": "se_e2_a", "DescrptSeA": "se_e2_a", "ProdEnvMatR": "se_e2_r", "DescrptSeR": "se_e2_r"}
OTHERS = {"ProdEnvMatAMix": "se_atten", "Descrpt": "loc_frame", "TabulateFusionSeT": "se_e3",
          "ProdEnvMatAMask": "se_a_mask"}
ACTIVATIONS = {"Tanh": "tanh", "Relu": "relu", "Relu6": "relu6", "Softplus": "softplus", "Sigmoid": "sigmoid",
               "Gelu": "gelu", "GeluCustom": "gelu"}
Nodes = Mapping[str, Node]


def read_graph(nodes: Nodes, kind: str) -> ForeignModel:
    """The model in a frozen graph.

    Raises
    ------
    ModelFileError
        If it is not one that can be read, or not a model at all.
    """
    if "model_attr/tmap" not in nodes:
        raise ModelFileError("expected a DeePMD-kit model, got a TensorFlow graph without its type map")
    model_type = nodes["model_attr/model_type"].constant().decode() if "model_attr/model_type" in nodes else "ener"
    if model_type != "ener":
        refusals.check_fitting(model_type, {})
    if any(name.startswith("spin_attr/") for name in nodes):
        refusals.check_fitting("ener", {"spin": True})
    type_map = tuple(nodes["model_attr/tmap"].constant().decode().split())
    script = _script(nodes)
    origin = {"software": "DeePMD-kit", "backend": "TensorFlow", "format": f"frozen .{kind}"}
    nearest = nodes["train_attr/min_nbor_dist"].constant() if "train_attr/min_nbor_dist" in nodes else None
    return ForeignModel(
        type_map, (_descriptor(nodes, script.get("descriptor", {}), len(type_map)),),
        _fitting(nodes, script.get("fitting_net", {}), len(type_map)), np.zeros(len(type_map)),
        pairs(script.get("pair_exclude_types")), tuple(int(t) for t in script.get("atom_exclude_types") or ()),
        positive(nearest), origin)


def _script(nodes: Nodes) -> Mapping[str, Any]:
    """The model's settings, which newer files have inside."""
    if "train_attr/training_script" not in nodes:
        return {}
    settings: Mapping[str, Any] = json.loads(nodes["train_attr/training_script"].constant()).get("model", {})
    return settings


def _descriptor(nodes: Nodes, settings: Mapping[str, Any], n_types: int) -> Descriptor:
    ops = {node.op: node for node in nodes.values()}
    for op in set(ops) & set(OTHERS):
        refusals.descriptor_kind(OTHERS[op])
    environments = [node for node in nodes.values() if node.op in ENVIRONMENTS]
    if len(environments) > 1:
        raise ModelFileError("a hybrid descriptor in a TensorFlow graph cannot be read: make a .dp of the file, with "
                             "DeePMD-kit's dp convert-backend, and read that")
    if len(environments) != 1:
        refusals.descriptor_kind(settings.get("type", "unknown"))
    kind, attr = ENVIRONMENTS[environments[0].op], environments[0].attr
    radial = kind == "se_e2_r"
    sel = tuple(attr["sel" if radial else "sel_a"]["list"][0]["i"])
    davg, dstd = (nodes[f"descrpt_attr/{name}"].constant().reshape(n_types, sum(sel), 1 if radial else 4).astype(float)
                  for name in ("t_avg", "t_std"))
    one_side = any(name.startswith("filter_type_all/matrix_") for name in nodes)
    activation = settings.get("activation_function") or _activation(nodes, "filter_type_")
    found = _embeddings(nodes, activation, n_types, one_side)
    some = next((net for net in found if net), None)
    if some is None:
        raise ModelFileError("its embedding nets are not in the file (a compressed model); "
                             "use the file from before its compression")
    missing = set() if one_side else {divmod(k, n_types) for k, net in enumerate(found) if not net}
    excluded = missing | set(pairs(settings.get("exclude_types")))
    axis = 1 if radial else _axis_neuron(nodes, some[-1].weight.shape[1])
    rcut, rcut_smth = (attr[name]["f"][0] for name in (("rcut", "rcut_smth") if radial else ("rcut_r", "rcut_r_smth")))
    return Descriptor(kind, rcut, rcut_smth, sel, axis, one_side, tuple(sorted(excluded)), davg, dstd,
                      tuple(net or _nothing(some) for net in found), some[0].weight.dtype != np.float64)


def _embeddings(nodes: Nodes, activation: str, n_types: int, one_side: bool) -> list[tuple[Layer, ...]]:
    """Nets by neighbour, or by centre and neighbour; empty for pairs that are excluded."""
    centres = ["all"] if one_side else list(map(str, range(n_types)))
    return [tuple(_embedding(nodes, centre, t, activation)) for centre in centres for t in range(n_types)]


def _axis_neuron(nodes: Nodes, width: int) -> int:
    extra = sum(_number(nodes, name) for name in ("fitting_attr/dfparam", "fitting_attr/daparam"))
    first = next(nodes[name] for name in ("layer_0_type_0/matrix", "final_layer_type_0/matrix") if name in nodes)
    inputs: int = first.constant().shape[0]
    return (inputs - extra) // width


def _embedding(nodes: Nodes, centre: str, neighbor: int, activation: str) -> Iterator[Layer]:
    for n in range(1, 100):
        names = [f"filter_type_{centre}/{part}_{n}_{neighbor}" for part in ("matrix", "bias", "idt")]
        if names[0] not in nodes:
            return
        yield _layer(nodes, names, activation, resnet=True)


def _layer(nodes: Nodes, names: list[str], activation: str, resnet: bool) -> Layer:
    weight, bias, idt = (nodes[name].constant() if name in nodes else None for name in names)
    assert weight is not None
    bias = np.zeros(weight.shape[1]) if bias is None else bias.reshape(-1)
    return Layer(weight, bias, None if idt is None else idt.reshape(-1), activation, resnet)


def _nothing(net: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """A net that gives zero, for pairs that have none."""
    return tuple(layer._replace(weight=np.zeros_like(layer.weight), bias=np.zeros_like(layer.bias)) for layer in net)


def _activation(nodes: Nodes, prefix: str) -> str:
    """The activation function, from the operators between a net's layers."""
    ops = {node.op for name, node in nodes.items() if name.startswith(prefix)}
    if {"Tanh", "Pow"} <= ops:  # x^3
        return "gelu_tf"
    return next((name for op, name in ACTIVATIONS.items() if op in ops), "none")


def _fitting(nodes: Nodes, settings: Mapping[str, Any], n_types: int) -> Fitting:
    refusals.check_fitting(settings.get("type"), settings)
    activation = settings.get("activation_function") or _activation(nodes, "layer_")
    nets = tuple(tuple(_fitting_net(nodes, t, activation)) for t in range(n_types))
    stored = nodes.get("fitting_attr/t_bias_atom_e")  # older files have it in the last layer alone
    bias = np.zeros(n_types) if stored is None else stored.constant()
    return Fitting(
        nets, np.asarray(bias, float).reshape(-1), (), vacuum(settings.get("atom_ener"), n_types),
        _parameters(nodes, "fparam"), _parameters(nodes, "aparam"), None, np.zeros(0),
        nets[0][0].weight.dtype != np.float64)


def _fitting_net(nodes: Nodes, t: int, activation: str) -> Iterator[Layer]:
    """Hidden layers, with a shortcut where a layer has the width of the one before, and the linear output."""
    depth = sum(bool(re.fullmatch(rf"layer_\d+_type_{t}/matrix", name)) for name in nodes)
    before = None
    for n in range(depth):
        names = [f"layer_{n}_type_{t}/{part}" for part in ("matrix", "bias", "idt")]
        layer = _layer(nodes, names, activation, resnet=False)
        yield layer._replace(resnet=before == layer.weight.shape[1])
        before = layer.weight.shape[1]
    names = [f"final_layer_type_{t}/{part}" for part in ("matrix", "bias", "idt")]
    if names[0] not in nodes:
        raise ModelFileError(f"expected a fitting net for each of {t + 1} or more species, got none for species {t}")
    yield _layer(nodes, names, "none", resnet=False)


def _parameters(nodes: Nodes, name: str) -> Parameters:
    count = _number(nodes, f"fitting_attr/d{name}")
    if count == 0:
        return NO_PARAMETERS
    average, inverse = (nodes[f"fitting_attr/t_{name}_{part}"].constant().astype(float).reshape(-1)
                        for part in ("avg", "istd"))
    return Parameters(average, inverse)


def _number(nodes: Nodes, name: str) -> int:
    return int(nodes[name].constant()) if name in nodes else 0
