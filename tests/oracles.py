"""Slow, plain NumPy versions of what the package computes, written from the definitions and sharing no code with it.

DeepPot-SE as in Zhang et al., NeurIPS 2018, with the slots of its reference implementation: every atom has ``sel``
slots for each neighbour species, filled from the nearest neighbour on; a slot that stays empty is a row of zeros,
and is shifted, scaled and embedded like any other.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np
from numpy.polynomial import chebyshev


class Layer(NamedTuple):
    weight: np.ndarray  # [n_in, n_out]
    bias: np.ndarray  # [n_out]
    idt: np.ndarray | None  # [n_out]


class Parameters(NamedTuple):
    """All numbers of a model, as plain arrays."""

    rcut: float
    rcut_smth: float
    axis_neuron: int
    orders: tuple[int, int, int]  # l_max; of the orders above 1, columns of the embedding and of the smaller matrix
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


class Neighbor(NamedTuple):
    j: int
    vector: np.ndarray  # [3]


def parameters_of(model) -> Parameters:
    """Take a ``Model`` of the package apart."""
    config = model.card.config
    state = {key: value.detach().cpu().numpy() for key, value in model.module.state_dict().items()}
    n_types = len(config.type_map)
    n_nets = n_types if config.descriptor.type_one_side else n_types**2
    together = _layers(state, "descriptor.embedding.layers", len(config.descriptor.neuron))  # of all nets
    embedding = [[Layer(*(None if part is None else part[net] for part in layer)) for layer in together]
                 for net in range(n_nets)]
    fitting = []
    for net in range(n_types):
        hidden = _layers(state, f"fitting_net.nets.{net}.0.layers", len(config.fitting_net.neuron))
        name = f"fitting_net.nets.{net}.1"
        output = Layer(state[f"{name}.weight"].T, state[f"{name}.bias"], None)
        fitting.append([*hidden, output])
    return Parameters(config.rcut, config.descriptor.rcut_smth, config.descriptor.axis_neuron,
                      (config.descriptor.l_max, config.descriptor.columns[-1], config.descriptor.axes[-1]),
                      config.descriptor.type_one_side, (config.descriptor.activation, config.fitting_net.activation),
                      embedding, fitting, *(state[f"fitting_net.{name}"] for name in ("energy_bias", "mean", "scale")),
                      *(state[f"descriptor.{name}"] for name in ("davg", "dstd", "sel")),
                      frozenset(itertools.chain(*(itertools.permutations(map(config.type_map.index, pair))
                                                  for pair in config.descriptor.exclude_types))),
                      None, *(state.get(f"fitting_net.parameter_{name}", np.zeros(0)) for name in ("mean", "inverse")))


def _layers(state, prefix, depth):
    return [Layer(state[f"{prefix}.{n}.weight"], state[f"{prefix}.{n}.bias"], state.get(f"{prefix}.{n}.idt"))
            for n in range(depth)]


def neighbors(positions, cell, pbc, cutoff) -> list[list[Neighbor]]:
    """Neighbours of each atom, by trying every image that could be near enough."""
    positions, cell = np.asarray(positions, float).reshape(-1, 3), np.asarray(cell, float)
    periodic = [k for k in range(3) if pbc[k]]
    repeats = [0, 0, 0]
    for k in periodic:
        others = [cell[m] for m in periodic if m != k]
        height = cell[k] - _projection(cell[k], others)
        normal = height / (height @ height)  # fractional coordinate along k = position @ normal
        along = positions @ normal
        spread = np.ptp(along) if len(along) else 0.0
        repeats[k] = math.ceil(cutoff * np.linalg.norm(normal) + spread)
    found: list[list[Neighbor]] = [[] for _ in positions]
    for shift in itertools.product(*(range(-n, n + 1) for n in repeats)):
        offset = sum((shift[k] * cell[k] for k in periodic), np.zeros(3))
        for i, j in itertools.product(range(len(positions)), repeat=2):
            vector = positions[j] - positions[i] + offset
            if np.linalg.norm(vector) < cutoff and (i != j or any(shift)):
                found[i].append(Neighbor(j, vector))
    return found


def _projection(vector, span):
    if not span:
        return np.zeros(3)
    basis = np.linalg.qr(np.array(span).T)[0]
    return basis @ (basis.T @ vector)


def switch(r, rcut_smth: float, rcut: float):
    """Weight w of a neighbour: s(r) = w(r)/r. May be complex, as all that follows: see `complex_step`."""
    if r.real < rcut_smth:
        return 1.0
    if r.real >= rcut:
        return 0.0
    u = (r - rcut_smth) / (rcut - rcut_smth)
    return -6 * u**5 + 15 * u**4 - 10 * u**3 + 1


def harmonics(u, l_max: int):
    """Real spherical harmonics of a unit vector, [(l_max + 1)^2], by the recursions for any order.

    ``Y_lm = N P_l^m(z) (Re or Im of (x + i y)^|m|)``, without the powers of sin(theta) that both would have.
    """
    x, y, z = u
    real, imag = [1.0], [0.0]
    for m in range(l_max):
        real.append(x * real[m] - y * imag[m])
        imag.append(y * real[m] + x * imag[m])
    values = []
    for l in range(l_max + 1):  # noqa: E741
        norms = [math.sqrt((2 if m else 1) * math.factorial(l - m) / math.factorial(l + m)) for m in range(l + 1)]
        legendre = [norms[m] * associated_legendre(l, m, z) for m in range(l + 1)]
        row = [legendre[m] * imag[m] for m in range(l, 0, -1)] + [legendre[m] * real[m] for m in range(l + 1)]
        values += [row[2], row[0], row[1]] if l == 1 else row  # order 1 is x, y, z
    return np.array(values)


def associated_legendre(l: int, m: int, z):  # noqa: E741
    """``P_l^m(z) / (1 - z^2)^(m/2)``, without the phase (-1)^m."""
    below, value = 0.0, float(math.prod(range(1, 2 * m, 2)))
    for k in range(m + 1, l + 1):
        below, value = value, ((2 * k - 1) * z * value - (k + m - 1) * below) / (k - m)
    return value


def environment_row(vector, rcut_smth, rcut, l_max=1):
    r = np.sqrt(np.sum(vector * vector))
    return switch(r, rcut_smth, rcut) / r * harmonics(vector / r, l_max)


def silut(x, threshold):
    """DeePMD-kit's: SiLU up to a threshold, from there a tanh with its value and slope."""
    s = 1 / (1 + np.exp(-threshold))
    above = np.tanh((s + threshold * s * (1 - s)) * (x - threshold)) + threshold * s
    return np.where(x.real < threshold, x / (1 + np.exp(-x)), above)


def activate(x, name):
    return {
        "tanh": np.tanh,
        "gelu": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        "silu": lambda x: x / (1 + np.exp(-x)),
        "softplus": lambda x: np.log1p(np.exp(x)),
        "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
        "relu": lambda x: np.where(x.real > 0, x, 0),
        "relu6": lambda x: np.where(x.real >= 6, 6, np.where(x.real > 0, x, 0)),
        "linear": lambda x: x,
        "silut": lambda x: silut(x, 3.0),
        "silut:0.5": lambda x: silut(x, 0.5),
        "silut:100.0": lambda x: silut(x, 100.0),
    }[name](x)


def layer_output(layer: Layer, x, activation: str):
    """One residual layer: identity shortcut, doubled shortcut, or none, whatever the widths allow."""
    n_in, n_out = layer.weight.shape
    y = activate(x @ layer.weight + layer.bias, activation)
    if layer.idt is not None:
        y = y * layer.idt
    if n_out == n_in:
        return x + y
    if n_out == 2 * n_in:
        return np.concatenate([x, x], axis=-1) + y
    return y


def net_output(layers, x, activation):
    for layer in layers:
        x = layer_output(layer, x, activation)
    return x


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
    """D_i, flat: [M, axis_neuron] of orders 0 and 1, then [higher_neuron, higher_axis_neuron] of each further one."""
    centre, (l_max, columns, axis) = types[i], p.orders
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
    return np.concatenate([part.reshape(-1) for part in parts])


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


def hybrid_parts(model) -> list[tuple[str, Parameters]]:
    """Kind and numbers of each part of a hybrid ``Model``; all with the model's fitting nets."""
    config = model.card.config
    state = {key: value.detach().cpu().numpy() for key, value in model.module.state_dict().items()}
    parts = []
    for k, part in enumerate(config.descriptor.parts):
        own = f"descriptor.parts.{k}"
        together = _layers(state, f"{own}.embedding.layers", len(part.neuron))
        n_nets = len(together[0].weight)
        embedding = [[Layer(*(None if array is None else array[net] for array in layer)) for layer in together]
                     for net in range(n_nets)]
        fitting = []
        for t in range(len(config.type_map)):
            name = f"fitting_net.nets.{t}"
            output = Layer(state[f"{name}.1.weight"].T, state[f"{name}.1.bias"], None)
            fitting.append([*_layers(state, f"{name}.0.layers", len(config.fitting_net.neuron)), output])
        parts.append((part.kind, Parameters(
            part.rcut, part.rcut_smth, part.axis_neuron, (part.l_max, part.columns[-1], part.axes[-1]),
            part.type_one_side,
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


def total_energy(model, types, positions, cell, pbc) -> float:
    return float(energies_of(model, types, neighbors(positions, cell, pbc, model.card.rcut)).sum())


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
        fitting.append([*_layers(state, f"{name}.0.layers", len(net.neuron)), output])
    sel = ([table[element] for element in config.type_map] for table in (shape.sel_a, shape.sel_r))
    return LocalFrame(config.rcut, *sel, rules, net.activation, net.shortcut, fitting,
                      state["fitting_net.energy_bias"], state["descriptor.davg"], state["descriptor.dstd"])


def length(vector):
    return np.sqrt(np.sum(vector * vector))


def nearest_first(mine: list[Neighbor]) -> list[Neighbor]:
    return sorted(mine, key=lambda n: length(n.vector.real))


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


def plain_output(layer: Layer, x, activation: str):
    y = activate(x @ layer.weight + layer.bias, activation)
    return y if layer.idt is None else y * layer.idt


def moments(n: int, n_types: int, i, types_j, vectors, order: int, s_max: float, rcut_smth: float, rcut: float,
            l_max: int):
    """Moments of n environments, [n, Y, T, L]: sum of T_l(2 s / s_max - 1) times the environment row, pair by pair.

    Beyond s_max the polynomials go on as the tangents T_l(1 + d) = 1 + l^2 d.
    """
    p = np.zeros((n, (l_max + 1) ** 2, n_types, order), vectors.dtype)
    for centre, species, vector in zip(i, types_j, vectors, strict=True):
        row = environment_row(vector, rcut_smth, rcut, l_max)
        x = 2 * row[0] / s_max - 1
        tangents = 1 + np.arange(order) ** 2 * (x - 1)
        values = tangents if x.real > 1 else chebyshev.chebvander(x, order - 1).reshape(-1)
        p[centre, :, species] += np.outer(row, values)
    return p


def pair_gradient(k, i, types_j, vectors, order: int, *shape: float):
    """dE/dv of each pair, [E, 3], from K = dE/dP [n, Y, T, L]."""
    def energy(e, dv):
        own = (i[e : e + 1], types_j[e : e + 1], vectors[e : e + 1] + dv)
        return (k * moments(len(k), k.shape[2], *own, order, *shape)).sum()

    parts = [complex_step(lambda dv, e=e: energy(e, dv), 3) for e in range(len(i))]
    return np.reshape(parts, (-1, 3))


def complex_step(function, shape, step=1e-30):
    """Derivative at zero of an analytic function of a real array, to rounding: Im f(i h) / h."""
    gradient = np.zeros(shape)
    for index in np.ndindex(gradient.shape):
        x = np.zeros(shape, complex)
        x[index] = 1j * step
        gradient[index] = function(x).imag / step
    return gradient


def energies_of(model, types, around: list[list[Neighbor]]):
    """E_i, [N], of a ``Model`` of either kind."""
    if model.card.config.descriptor.kind == "local_frame":
        return local_frame_energies(local_frame_of(model), types, around)
    return atomic_energies(parameters_of(model), types, around)


def forces_and_virial(p: Parameters | LocalFrame, types, around: list[list[Neighbor]]):
    """-dE/dr [N, 3] and -dE/dstrain [3, 3]."""
    energies = local_frame_energies if isinstance(p, LocalFrame) else atomic_energies

    def energy(change):  # of the vector from i to n
        moved = [[Neighbor(n.j, n.vector + change(i, n)) for n in mine] for i, mine in enumerate(around)]
        return energies(p, types, moved).sum()

    forces = complex_step(lambda x: -energy(lambda i, n: x[n.j] - x[i]), (len(types), 3))
    return forces, complex_step(lambda strain: -energy(lambda i, n: n.vector @ strain), (3, 3))


def central_difference(function, x, step=1e-4):
    """df/dx of a scalar function at the array x, to fourth order in the step."""
    x = np.asarray(x, float)
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        def at(h, index=index):
            moved = x.copy()
            moved[index] += h
            return function(moved)
        gradient[index] = (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step)
    return gradient
