"""Nets in DeePMD-kit's TensorFlow graphs: layers by the names of their constants."""

import re
from collections.abc import Mapping

import numpy as np

from ase_deeppot.interop.foreign import Layer
from ase_deeppot.interop.graph import Node

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
    ops = {node.op for name, node in nodes.items() if re.match(scope, name)}
    if {"Tanh", "Pow"} <= ops:  # x^3
        return "gelu_tf"
    return next((name for op, name in ACTIVATIONS.items() if op in ops), "none")


def number(nodes: Nodes, name: str) -> int:
    """A whole number, 0 if it is not there."""
    return int(nodes[name].constant()) if name in nodes else 0
