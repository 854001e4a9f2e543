"""Several descriptors side by side."""

import itertools

import numpy as np

from oracles.neighbor_search import neighbors
from oracles.nets import Layer, layers_in, net_output
from oracles.smooth import Parameters, descriptor, radial_descriptor


def hybrid_parts(model) -> list[tuple[str, Parameters]]:
    """Kind and numbers of each part of a hybrid ``Model``; all with the model's fitting nets."""
    config = model.card.config
    state = {key: value.detach().cpu().numpy() for key, value in model.module.state_dict().items()}
    parts = []
    for k, part in enumerate(config.descriptor.parts):
        own = f"descriptor.parts.{k}"
        together = layers_in(state, f"{own}.embedding.layers", len(part.neuron))
        n_nets = len(together[0].weight)
        embedding = [[Layer(*(None if array is None else array[net] for array in layer)) for layer in together]
                     for net in range(n_nets)]
        fitting = []
        for t in range(len(config.type_map)):
            name = f"fitting_net.nets.{t}"
            output = Layer(state[f"{name}.1.weight"].T, state[f"{name}.1.bias"], None)
            fitting.append([*layers_in(state, f"{name}.0.layers", len(config.fitting_net.neuron)), output])
        parts.append((part.kind, Parameters(
            part.rcut, part.rcut_smth, part.axis_neuron,
            (part.l_max, part.columns[-1], part.axes[-1], part.bispectrum_neuron), part.type_one_side,
            (part.activation, config.fitting_net.activation), embedding, fitting,
            *(state[f"fitting_net.{name}"] for name in ("energy_bias", "mean", "scale")),
            *(state[f"{own}.{name}"] for name in ("davg", "dstd", "sel")),
            frozenset(itertools.chain(*(itertools.permutations(map(config.type_map.index, pair))
                                        for pair in part.exclude_types))))))
    return parts


def hybrid_energies(model, types, positions, cell, pbc):
    """E_i, [N], of a model with a hybrid descriptor."""
    parts = hybrid_parts(model)
    around = [neighbors(positions, cell, pbc, p.rcut) for _, p in parts]
    energies = []
    for i, t in enumerate(types):
        d = []
        for (kind, p), mine in zip(parts, around, strict=True):
            # a radial descriptor of ours begins with the constant 1
            own = (np.append(1.0, radial_descriptor(p, types, i, mine[i])) if kind == "radial"
                   else descriptor(p, types, i, mine[i]))
            d.append(own.reshape(-1))
        p, (*hidden, output) = parts[0][1], parts[0][1].fitting[t]
        x = net_output(hidden, (np.concatenate(d) - p.mean[t]) / p.scale, p.activations[1])
        energies.append((x @ output.weight + output.bias)[0] + p.energy_bias[t])
    return np.array(energies)
