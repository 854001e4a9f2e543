"""DPMD: local frames, sorted neighbours."""

from typing import NamedTuple

import numpy as np

from oracles.neighbor_search import Neighbor, length, nearest_first
from oracles.nets import Layer, layer_output, layers_in, plain_output


class LocalFrame(NamedTuple):
    """All numbers of a DPMD model, as plain arrays."""

    rcut: float
    sel_a: list[int]  # by species
    sel_r: list[int]
    axis_rule: list  # by species: (species, rank) of both axis atoms, or None
    activation: str
    shortcut: bool
    fitting: list[list[Layer]]
    energy_bias: np.ndarray
    davg: np.ndarray  # [T, K]
    dstd: np.ndarray


def local_frame_of(model) -> LocalFrame:
    """Take a ``Model`` with local frames apart."""
    config = model.card.config
    shape, net = config.descriptor, config.fitting_net
    state = {key: value.detach().cpu().numpy() for key, value in model.module.state_dict().items()}
    rules = []
    for element in config.type_map:
        rule = shape.axis_rule.get(element)
        rules.append(rule and [(config.type_map.index(name), rank) for name, rank in rule])
    fitting = []
    for t in range(len(config.type_map)):
        name = f"fitting_net.nets.{t}"
        output = Layer(state[f"{name}.1.weight"].T, state[f"{name}.1.bias"], None)
        fitting.append([*layers_in(state, f"{name}.0.layers", len(net.neuron)), output])
    sel = ([table[element] for element in config.type_map] for table in (shape.sel_a, shape.sel_r))
    return LocalFrame(config.rcut, *sel, rules, net.activation, net.shortcut, fitting,
                      state["fitting_net.energy_bias"], state["descriptor.davg"], state["descriptor.dstd"])


def axis_candidates(types, mine: list[Neighbor], rule) -> list[Neighbor]:
    """In the order in which they may become an axis atom."""
    if rule is None:
        return nearest_first(mine)
    species, rank = rule
    asked = nearest_first([n for n in mine if types[n.j] == species])[rank:]
    return asked + [n for n in nearest_first(mine) if not any(n is other for other in asked)]


def local_axes(types, mine: list[Neighbor], rules):
    """e_1, e_2, e_3; the last two are zero where no two neighbours span a frame, all where there is no neighbour."""
    none = np.zeros(3)
    if not mine:
        return none, none, none
    first, second = rules or (None, None)
    a = axis_candidates(types, mine, first)[0].vector
    e1 = a / length(a)
    for b in axis_candidates(types, mine, second):
        cosine = a.real @ b.vector.real / length(a.real) / length(b.vector.real)
        if np.sqrt(max(0.0, 1 - cosine**2)) > 0.1:
            beyond = b.vector - (b.vector @ e1) * e1
            e2 = beyond / length(beyond)
            return e1, e2, np.cross(e1, e2)
    return e1, none, none


def local_frame_descriptor(p: LocalFrame, types, i: int, mine: list[Neighbor]):
    """D_i before normalisation: slots with all coordinates by species, then those with 1/R by species."""
    axes = local_axes(types, mine, p.axis_rule[types[i]])
    full, radial = [], []
    for t, (n_a, n_r) in enumerate(zip(p.sel_a, p.sel_r, strict=True)):
        vectors = [n.vector for n in nearest_first([n for n in mine if types[n.j] == t])]
        rows = [[1 / length(v), *(v @ e / length(v) ** 2 for e in axes)] for v in vectors[:n_a]]
        full += rows + [[0.0] * 4] * (n_a - len(rows))
        more = [1 / length(v) for v in vectors[n_a : n_a + n_r]]
        radial += more + [0.0] * (n_r - len(more))
    return np.array([*np.reshape(full, -1), *radial])


def local_frame_energies(p: LocalFrame, types, around: list[list[Neighbor]]):
    """E_i, [N]."""
    energies = []
    for i, mine in enumerate(around):
        t = types[i]
        x = (local_frame_descriptor(p, types, i, mine) - p.davg[t]) / p.dstd[t]
        *hidden, output = p.fitting[t]
        for layer in hidden:
            x = layer_output(layer, x, p.activation) if p.shortcut else plain_output(layer, x, p.activation)
        energies.append((x @ output.weight + output.bias)[0] + p.energy_bias[t])
    return np.array(energies)
