"""DeepPot-SE as in Zhang et al., NeurIPS 2018, with the slots of its reference implementation.

Every atom has ``sel`` slots for each neighbour species, filled from the nearest neighbour on; a slot that stays empty
is a row of zeros, and is shifted, scaled and embedded like any other.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np

from oracles.environment import environment_row, harmonics
from oracles.neighbor_search import Neighbor
from oracles.nets import Layer, layers_in, net_output


class Parameters(NamedTuple):
    """All numbers of a model, as plain arrays."""

    rcut: float
    rcut_smth: float
    axis_neuron: int
    orders: tuple[int, int, int, int]  # l_max; of those above 1, columns of the embedding and of the smaller matrix; of
    # the embedding in the bispectrum
    type_one_side: bool
    activations: tuple[str, str]  # of the embedding nets, of the fitting nets
    embedding: list[list[Layer]]  # by neighbour species, or by centre species * T + neighbour species
    fitting: list[list[Layer]]  # by species; the last layer is linear
    energy_bias: np.ndarray  # [T]
    mean: np.ndarray  # [T, M * axis_neuron], of the descriptors
    scale: float  # of the descriptors
    davg: np.ndarray  # [T]
    dstd: np.ndarray  # [T, 2]
    sel: np.ndarray  # [T]
    excluded: frozenset = frozenset()  # pairs (centre, neighbour) of species that do not see each other
    extra: np.ndarray | None = None  # [N, k], parameters of the frame and of each atom, for models that take them
    extra_mean: np.ndarray = np.zeros(0)  # [k]
    extra_inverse: np.ndarray = np.ones(0)  # [k]


def parameters_of(model) -> Parameters:
    """Take a ``Model`` of the package apart."""
    config = model.card.config
    state = {key: value.detach().cpu().numpy() for key, value in model.module.state_dict().items()}
    n_types = len(config.type_map)
    n_nets = n_types if config.descriptor.type_one_side else n_types**2
    together = layers_in(state, "descriptor.embedding.layers", len(config.descriptor.neuron))  # of all nets
    embedding = [[Layer(*(None if part is None else part[net] for part in layer)) for layer in together]
                 for net in range(n_nets)]
    fitting = []
    for net in range(n_types):
        hidden = layers_in(state, f"fitting_net.nets.{net}.0.layers", len(config.fitting_net.neuron))
        name = f"fitting_net.nets.{net}.1"
        output = Layer(state[f"{name}.weight"].T, state[f"{name}.bias"], None)
        fitting.append([*hidden, output])
    return Parameters(config.rcut, config.descriptor.rcut_smth, config.descriptor.axis_neuron,
                      (config.descriptor.l_max, config.descriptor.columns[-1], config.descriptor.axes[-1],
                       config.descriptor.bispectrum_neuron),
                      config.descriptor.type_one_side, (config.descriptor.activation, config.fitting_net.activation),
                      embedding, fitting, *(state[f"fitting_net.{name}"] for name in ("energy_bias", "mean", "scale")),
                      *(state[f"descriptor.{name}"] for name in ("davg", "dstd", "sel")),
                      frozenset(itertools.chain(*(itertools.permutations(map(config.type_map.index, pair))
                                                  for pair in config.descriptor.exclude_types))),
                      None, *(state.get(f"fitting_net.parameter_{name}", np.zeros(0)) for name in ("mean", "inverse")))


def slots(p: Parameters, types, centre: int, mine: list[Neighbor]):
    """Rows of the environment matrix of one atom, by neighbour species: filled slots first, then empty ones."""
    for t in range(len(p.sel)):
        seen = (n for n in mine if types[n.j] == t and (centre, t) not in p.excluded)
        of_type = sorted(seen, key=lambda n: np.linalg.norm(n.vector.real))
        assert len(of_type) <= p.sel[t], "the reference definition would drop neighbours here"
        rows = [environment_row(n.vector, p.rcut_smth, p.rcut, p.orders[0]) for n in of_type]
        yield t, rows + [np.zeros((p.orders[0] + 1) ** 2)] * (int(p.sel[t]) - len(rows))


def radial_descriptor(p: Parameters, types, i: int, mine: list[Neighbor]):
    """D_i of DeePMD-kit's se_e2_r, [M]: the mean embedding of all slots, over five."""
    centre = types[i]
    total = 0.0
    for t, rows in slots(p, types, centre, mine):
        net = p.embedding[t if p.type_one_side else centre * len(p.sel) + t]
        s = (np.reshape(rows, (len(rows), -1))[:, :1] - p.davg[centre]) / p.dstd[centre, 0]
        total = total + net_output(net, s, p.activations[0]).sum(0)
    return total / p.sel.sum() / 5


def descriptor(p: Parameters, types, i: int, mine: list[Neighbor]):
    """D_i, flat: [M, axis_neuron] of orders 0 and 1, [higher_neuron, higher_axis_neuron] of each further one, and last
    the bispectrum, over the root of the scale.
    """
    centre, (l_max, columns, axis, third) = types[i], p.orders
    shift = np.array([p.davg[centre], *[0] * (l_max * (l_max + 2))])
    widths = [p.dstd[centre, 1] * math.sqrt(3 / (2 * l + 1))
              for l in range(1, l_max + 1) for _ in range(2 * l + 1)]  # noqa: E741
    scale = np.array([p.dstd[centre, 0], *widths])
    rg = 0.0
    for t, rows in slots(p, types, centre, mine):
        net = p.embedding[t if p.type_one_side else centre * len(p.sel) + t]
        normalised = (np.reshape(rows, (len(rows), -1)) - shift) / scale
        rg = rg + normalised.T @ net_output(net, normalised[:, :1], p.activations[0])
    rg = rg / p.sel.sum()  # [Y, M]
    parts = [rg[:4].T @ rg[:4, : p.axis_neuron]]
    for l in range(2, l_max + 1):  # noqa: E741
        high = rg[l * l : (l + 1) ** 2, :columns]
        parts.append(high.T @ high[:, :axis])
    if third:
        parts += [part / math.sqrt(p.scale) for part in bispectrum(rg[:, :third], l_max)]
    return np.concatenate([part.reshape(-1) for part in parts])


def bispectrum(a, l_max: int):
    """Means over all directions n of ``f_la(n) f_l'b(n) f_l''c(n)``, f_la the function whose coefficients are A^l_a."""
    z, weight = np.polynomial.legendre.leggauss(6)
    angles = 2 * np.pi * np.arange(12) / 12
    across = np.sqrt(1 - z**2)
    y = np.array([[harmonics((s * math.cos(phi), s * math.sin(phi), u), l_max) for phi in angles]
                  for s, u in zip(across, z, strict=True)])  # [6, 12, (l_max + 1)^2]
    f = [y[:, :, l * l : (l + 1) ** 2] @ a[l * l : (l + 1) ** 2] for l in range(l_max + 1)]  # noqa: E741
    parts = []
    for orders in [(1, 1, 2), (2, 2, 2), (1, 2, 3), (2, 3, 3)]:
        if max(orders) <= l_max:
            every = np.einsum("u,upa,upb,upc->abc", weight / 24, *(f[l] for l in orders))  # noqa: E741
            parts.append(np.array([every[abc] for abc in np.ndindex(every.shape)
                                   if all(abc[k] <= abc[k + 1] for k in (0, 1) if orders[k] == orders[k + 1])]))
    return parts


def atomic_energies(p: Parameters, types, around: list[list[Neighbor]]):
    """E_i, [N]."""
    energies = []
    for i, mine in enumerate(around):
        *hidden, output = p.fitting[types[i]]
        d = (descriptor(p, types, i, mine).reshape(-1) - p.mean[types[i]]) / p.scale
        if p.extra is not None:
            d = np.append(d, (p.extra[i] - p.extra_mean) * p.extra_inverse)
        x = net_output(hidden, d, p.activations[1])
        energies.append((x @ output.weight + output.bias)[0] + p.energy_bias[types[i]])
    return np.array(energies)
