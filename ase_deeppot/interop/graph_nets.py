"""Nets in DeePMD-kit's TensorFlow graphs: layers by the names of their constants."""

import re
from collections.abc import Mapping

import numpy as np

from ase_deeppot.errors import ModelFileError
from ase_deeppot.interop.foreign import Layer
from ase_deeppot.interop.graph import Node
from ase_deeppot.interop.refusals import INSTEAD

ACTIVATIONS = {"Tanh": "tanh", "Relu": "relu", "Relu6": "relu6", "Softplus": "softplus", "Sigmoid": "sigmoid",
               "Gelu": "gelu", "GeluCustom": "gelu"}
Nodes = Mapping[str, Node]


def layer(nodes: Nodes, name: str, activation: str, resnet: bool) -> Layer | None:
    """The layer whose constants have that name, with ``{}`` for matrix, bias and idt; None if there is none."""
    weight, bias, idt = (nodes[own].constant() if own in nodes else None
                         for own in map(name.format, ("matrix", "bias", "idt")))
    if weight is None:
        return None
    bias = np.zeros(weight.shape[1]) if bias is None else bias.reshape(-1)
    return Layer(weight, bias, None if idt is None else idt.reshape(-1), activation, resnet)


def activation_in(nodes: Nodes, scope: str) -> str:
    """The activation function, from the operators between layers; ``scope`` is a pattern of what names begin with."""
    own = {name: node for name, node in nodes.items() if re.match(scope, name)}
    ops = {node.op for node in own.values()}
    if "Sigmoid" in ops:
        return _with_sigmoid(nodes, own)
    if {"Tanh", "Pow"} <= ops:  # x^3
        return "gelu_tf"
    return next((name for op, name in ACTIVATIONS.items() if op in ops), "none")


def _with_sigmoid(nodes: Nodes, own: Nodes) -> str:
    """Which function has an operator Sigmoid in it: itself, ``x sigmoid(x)``, or that up to a threshold."""
    inputs = {name: _names(node) for name, node in own.items()}
    gates = {name: inputs[name] for name, node in own.items() if node.op == "Sigmoid"}
    factors = [set(inputs[name]) for name, node in own.items() if node.op == "Mul"]
    gated = [{name, *x} in factors for name, x in gates.items()]
    limits = [inputs[name] for name, node in own.items() if node.op == "Less"]
    thresholds = {float(nodes[y].constant()) for x, y in limits if [x] in gates.values()}
    alike = all(gates.values()) and all(gated) == any(gated)
    if not alike or len(thresholds) > (1 if any(gated) else 0):
        raise ModelFileError("its activation function, with an operator Sigmoid, cannot be told by its graph, which "
                             f"has no settings (train_attr/training_script); {INSTEAD}")
    if thresholds:
        return f"silut:{thresholds.pop()!r}"
    return "silu" if any(gated) else "sigmoid"


def _names(node: Node) -> list[str]:
    """Nodes that it takes values from, without the number of their output."""
    return [name.partition(":")[0] for name in node.inputs if not name.startswith("^")]


def number(nodes: Nodes, name: str) -> int:
    """A whole number, 0 if it is not there."""
    return int(nodes[name].constant()) if name in nodes else 0
