"""DeePMD-kit's TensorFlow models, frozen ``.pb`` and ``.pbtxt``: constants by the names that it gives its nodes."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ase_deeppot.errors import ModelFileError
from ase_deeppot.interop import refusals
from ase_deeppot.interop.deepmd_tree import pairs, positive, vacuum
from ase_deeppot.interop.foreign import NO_PARAMETERS, Descriptor, Fitting, ForeignModel, Layer, Parameters
from ase_deeppot.interop.graph_descriptor import parts_of, width
from ase_deeppot.interop.graph_nets import Nodes, activation_in, layer, number


def read_graph(nodes: Nodes, kind: str) -> ForeignModel:
    """The model in a frozen graph.

    Raises
    ------
    ModelFileError
        If it is not one that can be read, or not a model at all.
    """
    if "model_attr/tmap" not in nodes:
        raise ModelFileError("expected a DeePMD-kit model, got a TensorFlow graph without its type map")
    script = _script(nodes)
    _check(nodes, script)
    type_map = tuple(nodes["model_attr/tmap"].constant().decode().split())
    nearest = nodes["train_attr/min_nbor_dist"].constant() if "train_attr/min_nbor_dist" in nodes else None
    parts = parts_of(nodes, script.get("descriptor", {}), len(type_map))
    fitting = _fitting(nodes, script.get("fitting_net", {}), len(type_map))
    _check_width(parts, fitting)
    return ForeignModel(
        type_map, parts, _scaled(fitting, _of_types(nodes, "out_std", 1.0, len(type_map))),
        _of_types(nodes, "out_bias", 0.0, len(type_map)),
        pairs(script.get("pair_exclude_types")), tuple(int(t) for t in script.get("atom_exclude_types") or ()),
        positive(nearest), {"software": "DeePMD-kit", "backend": "TensorFlow", "format": f"frozen .{kind}"})


def _script(nodes: Nodes) -> Mapping[str, Any]:
    """The model's settings, which newer files have inside."""
    if "train_attr/training_script" not in nodes:
        return {}
    settings: Mapping[str, Any] = json.loads(nodes["train_attr/training_script"].constant()).get("model", {})
    return settings


def _check(nodes: Nodes, script: Mapping[str, Any]) -> None:
    """Refuse what is not a descriptor and a fitting net of energies."""
    refusals.check_model_type(script.get("type"))
    model_type = nodes["model_attr/model_type"].constant().decode() if "model_attr/model_type" in nodes else "ener"
    if model_type != "ener":
        refusals.check_fitting(model_type, {})
    if any(name.startswith("spin_attr/") for name in nodes):
        refusals.check_fitting("ener", {"spin": True})
    if any(node.op == "PairTab" for node in nodes.values()):
        refusals.check_model_type("use_srtab")


def _check_width(parts: Sequence[Descriptor], fitting: Fitting) -> None:
    expected = sum(map(width, parts)) + len(fitting.frame.average) + len(fitting.atom.average)
    for net in fitting.nets:
        if len(net[0].weight) != expected:
            raise ModelFileError(f"expected fitting nets that take the {expected} numbers of its descriptor and "
                                 f"parameters, got one that takes {len(net[0].weight)}")


def _of_types(nodes: Nodes, name: str, usual: float, n_types: int) -> np.ndarray:
    """One of the numbers of each species that a model's output is changed by, [T]."""
    found = [node for own, node in nodes.items() if re.fullmatch(rf"(model_attr/)+t_{name}", own)]
    return found[0].constant().astype(float).reshape(-1, n_types, 1)[0, :, 0] if found else np.full(n_types, usual)


def _scaled(fitting: Fitting, factors: np.ndarray) -> Fitting:
    """With all energies times a factor of each species: TensorFlow's graphs multiply with out_std."""
    nets = tuple((*net[:-1], net[-1]._replace(weight=net[-1].weight * k, bias=net[-1].bias * k))
                 for net, k in zip(fitting.nets, factors, strict=True))
    return fitting._replace(nets=nets, bias=fitting.bias * factors)


def _fitting(nodes: Nodes, settings: Mapping[str, Any], n_types: int) -> Fitting:
    refusals.check_fitting(settings.get("type"), settings)
    activation = settings.get("activation_function") or activation_in(nodes, "layer_")
    nets = tuple(tuple(_fitting_net(nodes, t, activation)) for t in range(n_types))
    stored = nodes.get("fitting_attr/t_bias_atom_e")  # older files have it in the last layer alone
    bias = np.zeros(n_types) if stored is None else stored.constant()
    return Fitting(
        nets, np.asarray(bias, float).reshape(-1), (), vacuum(settings.get("atom_ener"), n_types),
        _parameters(nodes, "fparam"), _parameters(nodes, "aparam"), None, np.zeros(0),
        nets[0][0].weight.dtype != np.float64)


def _fitting_net(nodes: Nodes, t: int, activation: str) -> Iterator[Layer]:
    """Hidden layers, with a shortcut where a layer has the width of the one before, and the linear output."""
    before = None
    for n in range(100):
        found = layer(nodes, f"layer_{n}_type_{t}/{{}}", activation, resnet=False)
        if found is None:
            break
        yield found._replace(resnet=before == found.weight.shape[1])
        before = found.weight.shape[1]
    output = layer(nodes, f"final_layer_type_{t}/{{}}", "none", resnet=False)
    if output is None:
        raise ModelFileError(f"expected a fitting net for each of {t + 1} or more species, got none for species {t}")
    yield output


def _parameters(nodes: Nodes, name: str) -> Parameters:
    if number(nodes, f"fitting_attr/d{name}") == 0:
        return NO_PARAMETERS
    average, inverse = (nodes[f"fitting_attr/t_{name}_{part}"].constant().astype(float).reshape(-1)
                        for part in ("avg", "istd"))
    return Parameters(average, inverse)
