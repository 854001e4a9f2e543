"""What is peculiar to TensorFlow's graphs: factors of energies, excluded pairs, operators."""

import json

import h5py
import numpy as np
import oracles
import pytest
from builders import random_atoms, random_model, types_in

from ase_deeppot.errors import ModelFileError
from ase_deeppot.interop import from_bytes, load_model
from ase_deeppot.interop.deepmd_graph import read_graph
from ase_deeppot.interop.export import export
from ase_deeppot.interop.graph import read_binary
from ase_deeppot.interop.into_model import to_model
from interop import deepmd_files as files
from interop import deepmd_graphs as graphs
from interop.deepmd_kit import answer, assert_same, convert, needs
from interop.test_load import assert_agrees, parameters


def plain(**options):
    return parameters(fitting_neuron=(10, 10), **options)


def zero(net):
    return [layer._replace(weight=0 * layer.weight, bias=0 * layer.bias) for layer in net]


def test_factors_of_energies():
    """``out_std`` multiplies them in a graph, before ``out_bias`` is added; in other files it has no effect."""
    p, factors = plain(), np.array([0.5, 3.0])
    nodes = [*graphs.graph(files.tree(p)),
             graphs.constant("model_attr/model_attr/t_out_std", factors.reshape(1, 2, 1))]
    scaled = [[*net[:-1], net[-1]._replace(weight=net[-1].weight * k, bias=net[-1].bias * k)]
              for net, k in zip(p.fitting, factors, strict=True)]
    bias = (0.25 + 0.75 * factors) * p.energy_bias  # of which a quarter is out_bias
    assert_agrees(from_bytes(graphs.pb(nodes)), p._replace(fitting=scaled, energy_bias=bias))


def excluding(p, pairs, **options):
    """A graph in which pairs of species are excluded, with its settings."""
    return graphs.pb(graphs.with_settings(files.tree(p, descriptor={"exclude_types": pairs}, **options)))


@pytest.mark.parametrize("one_side", [True, False])
def test_excluded_pairs_add_nothing_not_even_by_empty_slots(one_side):
    """With a ``davg`` that is not zero these would add something in other files, and the energy would jump."""
    p = plain(type_one_side=one_side)
    nets = [p.embedding[t if one_side else 2 * c + t] for c in range(2) for t in range(2)]
    expected = p._replace(type_one_side=False, embedding=[nets[0], zero(nets[1]), zero(nets[2]), nets[3]])
    model = from_bytes(excluding(p, [[0, 1]]))
    assert model.card.config.descriptor.exclude_types == (("H", "O"),)
    assert_agrees(model, expected)


def test_excluded_pairs_with_nets_by_neighbour_stay_so_without_davg():
    p = plain()._replace(davg=np.zeros(2))
    model = from_bytes(excluding(p, [[1, 1]]))
    assert model.card.config.descriptor.type_one_side
    assert_agrees(model, p._replace(excluded=frozenset({(1, 1)})))


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "softplus", "silut:100.0"])
def test_excluded_pairs_of_a_radial_descriptor(activation, monkeypatch):
    p = plain(type_one_side=False, axis_neuron=1, activation=activation)
    p = p._replace(dstd=np.repeat(p.dstd[:, :1], 2, axis=1))
    plainly = oracles.radial_descriptor

    def without_excluded(p, types, i, mine):  # where it would give what the net gives for an empty slot
        centre, other = types[i], 1 - types[i]
        g = oracles.net_output(p.embedding[2 * centre + other], np.full((1, 1), -p.davg[centre] / p.dstd[centre, 0]),
                               p.activations[0])[0]
        return plainly(p, types, i, mine) - p.sel[other] * g / p.sel.sum() / 5

    monkeypatch.setattr(oracles.smooth, "descriptor", without_excluded)
    model = from_bytes(excluding(p, [[0, 1]], kind="se_e2_r"))
    assert_agrees(model, p._replace(excluded=frozenset({(0, 1), (1, 0)})))


def test_excluded_pairs_that_cannot_be_read():
    radial = plain(axis_neuron=1)
    with pytest.raises(ModelFileError, match="exclude_types of its descriptor, se_e2_r with type_one_side"):
        from_bytes(excluding(radial, [[0, 1]], kind="se_e2_r"))
    with pytest.raises(ModelFileError, match="exclude_types with embedding nets that begin with one or two neurons"):
        from_bytes(excluding(plain(type_one_side=False, neuron=(2, 4), axis_neuron=2), [[0, 1]]))


def operators(scope, activation, timestep=False):
    """What TensorFlow makes of an activation function: name, op, attributes, inputs."""
    x, s = f"{scope}/BiasAdd", f"{scope}/Sigmoid"
    nodes = [(s, "Sigmoid", {}, (x,))]
    if activation != "sigmoid":
        nodes.append((f"{scope}/mul", "Mul", {}, (f"{x}:0", s)))
    if activation.startswith("silut"):
        threshold = np.array(float(activation[6:] or 3.0))
        nodes += [graphs.constant(f"{scope}/Less/y", threshold), (f"{scope}/Less", "Less", {}, (x, f"{scope}/Less/y")),
                  (f"{scope}/Tanh", "Tanh", {}, (f"{scope}/mul_1",)), (f"{scope}/SelectV2", "SelectV2", {}, ())]
    return [*nodes, (f"{scope}/mul_9", "Mul", {}, (s, f"{scope}/idt"))] if timestep else nodes


def with_operators(p, *more):
    """A graph without settings and with other operators than Tanh."""
    nodes = [node for node in graphs.graph(files.tree(p)) if node[1] != "Tanh"]
    return graphs.pb([*nodes, *more])


@pytest.mark.parametrize("embedding", ["sigmoid", "silu", "silut:0.5"])
@pytest.mark.parametrize("fitting", ["sigmoid", "silu", "silut"])
def test_activation_functions_with_a_sigmoid_are_told_apart_without_settings(embedding, fitting):
    p = plain(activation=embedding, fitting_activation=fitting)
    content = with_operators(p, *operators("filter_type_all", embedding, timestep=True),
                             *operators("layer_0_type_0", fitting), *operators("layer_1_type_1", fitting))
    model = from_bytes(content)
    assert model.card.config.fitting_net.activation == fitting
    assert_agrees(model, p)


@pytest.mark.parametrize("change", [
    lambda nodes: [(*nodes[0][:3], ())],  # inputs are not in the file
    lambda nodes: [*nodes, *operators("layer_1_type_1", "sigmoid")],  # several functions
    lambda nodes: [*nodes, *operators("layer_1_type_1", "silut:0.5"), *operators("layer_1_type_0", "silut:1.5")],
])
def test_activation_functions_that_cannot_be_told_are_refused(change):
    nodes = operators("layer_0_type_0", "silu")
    with pytest.raises(ModelFileError, match="with an operator Sigmoid, cannot be told by its graph"):
        from_bytes(with_operators(plain(), *change(nodes)))


REFUSED = [
    (lambda nodes: [*nodes, ("PairTab", "PairTab", {}, ())], "model of type 'use_srtab' cannot be read"),
    (lambda nodes: [*nodes, graphs.constant("type_embed_net/matrix_1", np.ones((2, 8)))], "type embedding. cannot be"),
    (lambda nodes: [*nodes, graphs.constant("spin_attr/ntypes_spin", np.ones(1))], "spin cannot be read"),
    (lambda nodes: [*nodes, graphs.constant("model_attr/model_type", b"dipole")], "fitting net 'dipole' cannot be"),
    (lambda nodes: [*nodes, graphs.constant("train_attr/training_script", b'{"model": {"type": "linear_ener"}}')],
     "model of type 'linear_ener' cannot be read"),
    (lambda nodes: [node for node in nodes if "Slice" not in node[0]], "cuts out the axis_neuron columns of its desc"),
    (lambda nodes: [node for node in nodes if "filter" not in node[0]], "embedding nets of its descriptor are not in"),
    (lambda nodes: [node for node in nodes if node[1] != "ProdEnvMatA"], "descriptors in its graph as in its settings"),
    (lambda nodes: [(*node[:3], ()) if node[1] == "ProdEnvMatA" else node for node in nodes],
     "operator ProdEnvMatA that takes descrpt_attr/t_avg, got one that takes nothing"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[message[:24] for _, message in REFUSED])
def test_what_cannot_be_read_is_refused_by_name(change, message):
    with pytest.raises(ModelFileError, match=f"model.pb: .*{message}"):
        from_bytes(graphs.pb(change(graphs.graph(files.tree(plain())))), "model.pb")


@needs("tensorflow")
@pytest.mark.parametrize("one_side", [True, False])
def test_tensorflow_says_the_same(one_side, tmp_path):
    """Of factors of energies, and of excluded pairs with a ``davg`` that is not zero."""
    atoms = random_atoms(6, seed=1)
    export(random_model(l_max=1, sel=(40, 41), type_one_side=one_side), tmp_path / "given.dp")
    with h5py.File(tmp_path / "given.dp", "r+") as file:
        tree = json.loads(file.attrs["json"])
        for descriptor in (tree["model"]["descriptor"], tree["model_def_script"]["descriptor"]):
            descriptor["exclude_types"] = [[0, 1]]
        file.attrs["json"] = json.dumps(tree)
        file[tree["model"]["@variables"]["out_std"]][...] = 3.0
        file[tree["model"]["@variables"]["out_bias"]][...] = 0.7
    convert("tensorflow", tmp_path, "given.dp", "model.pb")
    model = load_model(tmp_path / "model.pb")
    assert_same(model, atoms, answer("tensorflow", tmp_path, "model.pb", types_in(model, atoms), atoms))


@needs("tensorflow")
@pytest.mark.parametrize("activation", ["sigmoid", "silu", "silut:0.5"])
def test_its_operators_tell_the_activation_function(activation, tmp_path):
    """Of a graph that has lost its settings."""
    options = {"type_one_side": False, "resnet_dt": True, "activation": activation, "fitting_activation": activation}
    model, atoms = random_model(l_max=1, sel=(40, 41), **options), random_atoms(6, seed=1)
    export(model, tmp_path / "given.dp")
    convert("tensorflow", tmp_path, "given.dp", "model.pb")
    nodes = read_binary((tmp_path / "model.pb").read_bytes())
    del nodes["train_attr/training_script"]
    again = to_model(read_graph(nodes, "pb"))
    assert again.card.config.descriptor.activation == again.card.config.fitting_net.activation == activation
    assert_same(again, atoms, answer("tensorflow", tmp_path, "model.pb", types_in(model, atoms), atoms))
