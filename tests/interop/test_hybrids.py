"""Hybrid descriptors in DeePMD-kit's files of every format, against the reference definition."""

import numpy as np
import oracles
import pytest
import torch
from builders import predict, random_atoms, random_model, types_in

from ase_deeppot.errors import ModelFileError
from ase_deeppot.interop import from_bytes
from interop import deepmd_files as files
from interop import deepmd_graphs as graphs
from interop.test_load import FORMATS

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # the tests write such archives
PARTS = (
    {"rcut": 4.0},
    {"rcut": 3.0, "rcut_smth": 0.5, "kind": "radial", "neuron": (5, 10), "order": 140},
    {"rcut": 3.5, "axis_neuron": 2, "type_one_side": False},
)
FORMS = FORMATS | {"pb with settings": lambda tree: graphs.pb(graphs.with_settings(tree)),
                   "pbtxt with settings": lambda tree: graphs.pbtxt(graphs.with_settings(tree))}


def hybrid(parts=PARTS, radial_at=(24,), sel=(40, 41), **options):
    """A model with fitting nets that take the descriptor as it is, without the constants of its radial parts."""
    model = random_model(sel=sel, kind="hybrid", parts=parts, l_max=1, order=140, **options)
    net = model.module.fitting_net
    net.mean.zero_()
    net.scale.fill_(1.0)
    with torch.no_grad():
        for layers in net.nets:
            layers[0].layers[0].weight[list(radial_at)] = 0.0
    return model


def assert_read(content, model):
    got, atoms = from_bytes(content), random_atoms(6, seed=1)
    expected = oracles.hybrid_energies(model, types_in(model, atoms), atoms.positions, atoms.cell[:], atoms.pbc)
    np.testing.assert_allclose(predict(got, atoms, compiled=False).energies, expected, rtol=0, atol=1e-9)
    return got


@pytest.mark.parametrize("form", FORMS)
def test_every_format(form):
    if form == "yaml":
        pytest.importorskip("yaml")
    model = hybrid()
    got = assert_read(FORMS[form](files.hybrid_tree(oracles.hybrid_parts(model))), model)
    assert [part.rcut for part in got.card.config.descriptor.parts] == [4.0, 3.0, 3.5]
    assert [part.axis_neuron for part in got.card.config.descriptor.parts][::2] == [3, 2]


def test_parts_whose_nets_have_kinks():
    model = hybrid((PARTS[0] | {"activation": "relu"}, *PARTS[1:]))
    got = assert_read(files.dp(files.hybrid_tree(oracles.hybrid_parts(model))), model)
    assert [part.order > 0 for part in got.card.config.descriptor.parts] == [False, True, True]


def test_more_than_ten_parts_of_a_graph_keep_their_order():
    parts = [{"rcut": 2.0 + 0.125 * k, "neuron": (4,), "axis_neuron": 1 + k % 3} for k in range(12)]
    model = hybrid(parts, radial_at=(), rcut=3.375)
    assert_read(graphs.pb(graphs.graph(files.hybrid_tree(oracles.hybrid_parts(model)))), model)


def without(nodes, start):
    return [node for node in nodes if not node[0].startswith(start)]


def nodes_of_hybrid():
    return graphs.graph(files.hybrid_tree(oracles.hybrid_parts(hybrid())))


@pytest.mark.parametrize(("change", "message"), [
    (lambda nodes: without(nodes, "filter_type_all_1/matrix"), "nets of descriptor 1 of its hybrid are not in"),
    (lambda nodes: without(nodes, "filter_type_all_0/Slice"), "axis_neuron columns of descriptor 0 of its hybrid"),
    (lambda nodes: without(nodes, "ProdEnvMatR"), "fitting nets that take the 40 numbers of its descriptor"),
    (lambda nodes: [*nodes, graphs.constant("filter_type_all_3/matrix_1_0_1", np.ones((1, 4)))],
     "descriptor 'se_e3' .three-body embedding. cannot be read"),
    (lambda nodes: [*nodes, ("ProdEnvMatAMix", "ProdEnvMatAMix", {}, ())], "'se_atten' .attention. cannot be read"),
])
def test_what_cannot_be_read_in_a_graph_is_named(change, message):
    with pytest.raises(ModelFileError, match=message):
        from_bytes(graphs.pb(change(nodes_of_hybrid())))


def test_another_number_of_descriptors_in_the_settings_is_refused():
    tree = files.hybrid_tree(oracles.hybrid_parts(hybrid()))
    nodes, settings = graphs.graph(tree), tree["model"]["descriptor"]["list"]
    del settings[2]
    with pytest.raises(ModelFileError, match="as many descriptors in its graph as in its settings, 2, got 3"):
        from_bytes(graphs.pb([*nodes, graphs.script(tree)]))


@pytest.mark.parametrize("kind", ["se_e3", "hybrid", "se_atten"])
def test_descriptors_in_the_settings_of_a_graph_are_refused_by_name(kind):
    tree = files.hybrid_tree(oracles.hybrid_parts(hybrid()))
    nodes = graphs.graph(tree)
    tree["model"]["descriptor"]["list"][1]["type"] = kind
    with pytest.raises(ModelFileError, match=f"descriptor '{kind}' .* cannot be read"):
        from_bytes(graphs.pb([*nodes, graphs.script(tree)]))
