"""DeePMD-kit's files of every format, written here, against the reference definition with its slots."""

import io
from dataclasses import replace

import numpy as np
import oracles
import pytest
import torch
from builders import every_way, predict, predictor, random_atoms, random_model, types_in

from ase_deeppot.errors import ModelFileError
from ase_deeppot.interop import from_bytes, load_model
from ase_deeppot.interop.slots import overfull
from ase_deeppot.neighbors import neighbor_pairs
from ase_deeppot.potential.archive import to_bytes
from ase_deeppot.potential.card import ModelCard
from ase_deeppot.potential.config import HybridConfig, HybridPart, ModelConfig
from interop import deepmd_files as files
from interop import deepmd_graphs as graphs

SEL = (30, 31)
FORMATS = {
    "dp": files.dp, "yaml": files.yaml, "json": files.as_json, "pt2": files.pt2, "pth": files.pth,
    "pt": lambda tree: files.pt({"Default": tree}), "pb": lambda tree: graphs.pb(graphs.graph(tree)),
    "pbtxt": lambda tree: graphs.pbtxt(graphs.graph(tree)),
}
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # the tests write such archives


def parameters(**options):
    """Of a random model, with a fitting net that takes the descriptor as it is."""
    p = oracles.parameters_of(random_model(sel=SEL, **{"l_max": 1, "rcut": 3.0, "fitting_neuron": (5, 10, 10),
                                                       **options}))
    return p._replace(mean=np.zeros_like(p.mean), scale=1.0)


def assert_agrees_with_parameters(model, p, frame, way=None):
    atoms, given = random_atoms(6, seed=1), np.random.default_rng(3).uniform(-1, 1, (6, len(p.extra_mean)))
    given[:, :frame] = given[0, :frame]
    got = predictor(model, **(way or {"compiled": False}))(atoms, given)
    energy, forces, virial = expected(p._replace(extra=given), atoms, types_in(model, atoms))
    np.testing.assert_allclose(got.energies, energy, rtol=0, atol=1e-9)
    np.testing.assert_allclose(got.forces, forces, rtol=0, atol=1e-8)
    np.testing.assert_allclose(got.virials.sum(0), virial, rtol=0, atol=1e-8)


def expected(p, atoms, types):
    around = oracles.neighbors(atoms.positions, atoms.cell[:], atoms.pbc, p.rcut)
    return (oracles.atomic_energies(p, types, around), *oracles.forces_and_virial(p, types, around))


def assert_agrees(model, p, way=None, atoms=None):
    atoms = random_atoms(6, seed=1) if atoms is None else atoms
    got = predict(model, atoms, **(way or {"compiled": False}))
    energy, forces, virial = expected(p, atoms, types_in(model, atoms))
    np.testing.assert_allclose(got.energies, energy, rtol=0, atol=1e-9)
    np.testing.assert_allclose(got.forces, forces, rtol=0, atol=1e-8)
    np.testing.assert_allclose(got.virials.sum(0), virial, rtol=0, atol=1e-8)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("one_side", [True, False], ids=["one-side", "two-side"])
def test_every_format(form, one_side):
    if form == "yaml":
        pytest.importorskip("yaml")
    # TensorFlow's fitting nets have no shortcut where the width doubles, and its cutoffs are float32
    p = parameters(type_one_side=one_side, rcut=3.0, fitting_neuron=(10, 10))
    assert_agrees(from_bytes(FORMATS[form](files.tree(p))), p)


@pytest.mark.parametrize("one_side", [True, False], ids=["one-side", "two-side"])
def test_compressed_files_are_read_through_the_nets_inside(one_side):
    p = parameters(type_one_side=one_side)
    content = files.compressed_pth(files.tree(p))
    with pytest.raises(RuntimeError, match="deepmd::tabulate_fusion_se_a"):
        torch.jit.load(io.BytesIO(content))
    assert_agrees(from_bytes(content), p)


def test_compressed_files_without_their_nets_are_refused():
    tree = files.tree(parameters())
    tree["model"]["descriptor"]["embeddings"]["networks"] = []
    with pytest.raises(ModelFileError, match=r"their\.pth: its embedding nets are not in the file; use the file from "
                                             "before its compression"):
        from_bytes(files.compressed_pth(tree), "their.pth")


@every_way
def test_every_way_to_run(way):
    p = parameters(type_one_side=False, resnet_dt=True)
    assert_agrees(from_bytes(files.dp(files.tree(p))), p, way)


@pytest.mark.parametrize("form", ["dp", "pth"])
@pytest.mark.parametrize(("activation", "theirs"), [("tanh", "tanh"), ("gelu", "gelu"), ("gelu", "gelu_tf"),
                                                    ("silu", "silu"), ("softplus", "softplus"), ("sigmoid", "sigmoid"),
                                                    ("linear", "linear"), ("linear", "none")])
def test_activation_functions(activation, theirs, form):
    p = parameters(activation=activation, fitting_activation=activation)
    theirs = {"activation_function": theirs}
    tree = files.tree(p._replace(activations=(theirs["activation_function"],) * 2), descriptor=theirs, fitting=theirs)
    assert_agrees(from_bytes(FORMATS[form](tree)), p)


def named(p, embedding=None, fitting=None, **options):
    """The tree of a model whose activation functions have these names."""
    names = (embedding or p.activations[0], fitting or p.activations[1])
    return files.tree(p._replace(activations=names), **options)


@pytest.mark.parametrize("form", ["dp", "pth"])
@pytest.mark.parametrize(("activation", "theirs"), [("relu", "relu"), ("relu6", "relu6"), ("silut", "silut"),
                                                    ("silut:0.5", "silut:0.5"), ("silut", "custom_silu:3.0"),
                                                    ("silut", "SiLUT")])
def test_activation_functions_with_kinks_in_fitting_nets(activation, theirs, form):
    p = parameters(fitting_activation=activation)
    model = from_bytes(FORMATS[form](named(p, fitting=theirs)))
    assert model.card.config.fitting_net.activation == activation
    assert_agrees(model, p)


@every_way
def test_silut_in_every_way(way):
    p = parameters(fitting_activation="silut:0.5", activation="silut:100.0")
    assert_agrees(from_bytes(files.dp(files.tree(p))), p, way)


@pytest.mark.parametrize("form", ["dp", "pth"])
@pytest.mark.parametrize("one_side", [True, False], ids=["one-side", "two-side"])
@pytest.mark.parametrize(("activation", "theirs"), [("relu", "relu"), ("relu6", "relu6"), ("silut", "silut"),
                                                    ("silut:0.5", "custom_silu:0.5")])
def test_embedding_nets_whose_kinks_atoms_reach_have_no_series(activation, theirs, one_side, form):
    p = parameters(activation=activation, type_one_side=one_side, resnet_dt=one_side)
    model = from_bytes(FORMATS[form](named(p, theirs)))
    assert model.card.config.descriptor.order == 0
    assert_agrees(model, p)
    assert_agrees(from_bytes(to_bytes(model)), p)


def test_smooth_embedding_nets_too_sharp_for_a_series_have_none():
    p = parameters()
    steep = [[layer._replace(weight=layer.weight * 40) for layer in net] for net in p.embedding]
    p = p._replace(embedding=steep)
    model = from_bytes(files.dp(files.tree(p)))
    assert model.card.config.descriptor.order == 0
    assert_agrees(model, p)


def tamed(p, lift):
    """With embedding nets whose neurons, before their activation function, are all between 0.2 and lift or so."""
    def layer(one, n):
        small = np.abs(one.weight) / np.abs(one.weight).sum(0)
        return one._replace(weight=small * (0.04 if n == 0 else 0.2), bias=np.full_like(one.bias, lift))
    return p._replace(embedding=[[layer(one, n) for n, one in enumerate(net)] for net in p.embedding])


@pytest.mark.parametrize(("activation", "lift"), [("relu", 1.0), ("relu6", 1.0), ("silut", 0.5), ("silut:0.5", -1.0),
                                                  ("silut:0.5", 2.0)])
def test_embedding_nets_whose_kinks_no_atom_reaches_are_read(activation, lift):
    p = tamed(parameters(activation=activation), lift)
    model = from_bytes(files.dp(files.tree(p)))
    assert model.card.config.descriptor.activation == activation
    assert model.card.config.descriptor.order > 0
    assert_agrees(model, p)


def test_timesteps_on_layers_that_double_the_width():
    p = parameters(neuron=(3, 6, 6), resnet_dt=True, fitting_neuron=(4, 8, 8))
    assert all(net[1].idt is not None for net in (*p.embedding, *p.fitting))
    assert_agrees(from_bytes(files.dp(files.tree(p))), p)


def test_timestep_missing_on_some_layers_is_one():
    p = parameters(fitting_neuron=(4, 8, 8))
    bare = p._replace(fitting=[[net[0], net[1]._replace(idt=None), *net[2:]] for net in p.fitting])
    assert_agrees(from_bytes(files.dp(files.tree(bare))), bare)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("form", ["dp", "pt"])
def test_pairs_that_do_not_see_each_other(form, activation):
    p = parameters(activation=activation)._replace(excluded=frozenset({(0, 1), (1, 0)}))
    model = from_bytes(FORMATS[form](files.tree(p, model={"pair_exclude_types": [[0, 1]]})))
    assert model.card.config.descriptor.exclude_types == (("H", "O"),)
    assert_agrees(model, p)


def test_excluded_types_of_the_descriptor():
    p = parameters()
    p = p._replace(excluded=frozenset({(1, 1)}), davg=np.zeros(2))
    assert_agrees(from_bytes(files.dp(files.tree(p, descriptor={"exclude_types": [[1, 1]]}))), p)
    jumping = files.dp(files.tree(parameters(), descriptor={"exclude_types": [[1, 1]]}))
    with pytest.raises(ModelFileError, match=r"exclude_types \(O, O\) with a davg that is not zero.*jumps"):
        from_bytes(jumping)


@pytest.mark.parametrize("form", ["dp", "pth"])
def test_atoms_without_energy(form):
    p = parameters()
    atoms = random_atoms(6, seed=1)
    model = from_bytes(FORMATS[form](files.tree(p, model={"atom_exclude_types": [0]})))
    silent = p._replace(energy_bias=p.energy_bias * [0, 1], fitting=[
        [*p.fitting[0][:-1], oracles.Layer(*(0 * part for part in p.fitting[0][-1][:2]), None)], p.fitting[1]])
    assert_agrees(model, silent, atoms=atoms)
    assert (predict(model, atoms).energies[atoms.symbols == "H"] == 0).all()


def test_energy_of_a_lone_atom_given():
    p = parameters()
    model = from_bytes(files.dp(files.tree(p, fitting={"atom_ener": [None, -3.0]})))
    *hidden, output = p.fitting[1]
    nothing = oracles.net_output(hidden, np.zeros(hidden[0].weight.shape[0]), "tanh") @ output.weight + output.bias
    assert_agrees(model, p._replace(energy_bias=p.energy_bias - [0, nothing[0]]))


@every_way
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("one_side", [True, False])
def test_radial_descriptor(way, one_side, activation, monkeypatch):
    p = parameters(type_one_side=one_side, axis_neuron=1, fitting_neuron=(10, 10), activation=activation)
    monkeypatch.setattr(oracles.smooth, "descriptor", oracles.radial_descriptor)
    p = p._replace(dstd=np.repeat(p.dstd[:, :1], 2, axis=1))
    model = from_bytes(files.dp(files.tree(p, kind="se_e2_r")))
    assert model.card.config.descriptor.kind == "radial"
    assert_agrees(model, p, way)


def test_one_of_several_tasks():
    one, two = parameters(seed=1), parameters(seed=2)
    content = files.pt({"water": files.tree(one), "ice": files.tree(two)})
    assert_agrees(from_bytes(content, head="ice"), two)
    assert_agrees(from_bytes(content, head="water"), one)
    with pytest.raises(ModelFileError, match=r"its tasks \(water, ice\), got none chosen"):
        from_bytes(content)
    with pytest.raises(ModelFileError, match=r"its tasks \(water, ice\), got 'steam'"):
        from_bytes(content, head="steam")
    with pytest.raises(ModelFileError, match="got one with a single model"):
        from_bytes(files.dp(files.tree(one)), head="ice")


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_single_precision(activation):
    p = parameters(precision="float32", activation=activation)
    tree = files.tree(p, descriptor={"precision": "float32"}, fitting={"precision": "float32"})
    model = from_bytes(files.dp(tree))
    assert model.card.config.precision == "float32"
    assert_agrees(from_bytes(files.dp(tree), dtype="float64"), oracles.Parameters(*p))


def test_own_files_are_read_as_before(tmp_path):
    model = random_model()
    content = to_bytes(model)
    assert from_bytes(content).card.config == model.card.config
    (tmp_path / "own.pth").write_bytes(content)
    assert load_model(tmp_path / "own.pth").card.config == model.card.config


def test_inputs_that_tell_tasks_apart():
    p, task = parameters(), np.array([0.3, -0.2, 0.5])
    extra = [np.random.default_rng(t).normal(size=(3, net[0].weight.shape[1])) for t, net in enumerate(p.fitting)]
    wider = [[net[0]._replace(weight=np.concatenate([net[0].weight, w])), *net[1:]]
             for net, w in zip(p.fitting, extra, strict=True)]
    tree = files.tree(p._replace(fitting=wider))
    tree["model"]["fitting"]["@variables"]["case_embd"] = task
    folded = [[net[0]._replace(bias=net[0].bias + task @ w), *net[1:]] for net, w in zip(p.fitting, extra, strict=True)]
    assert_agrees(from_bytes(files.dp(tree)), p._replace(fitting=folded))


@pytest.mark.parametrize("form", FORMATS)
def test_frame_and_atomic_parameters_of_every_format(form):
    if form == "yaml":
        pytest.importorskip("yaml")
    p = files.with_parameters(parameters(fitting_neuron=(10, 10)), 2, 1)
    model = from_bytes(FORMATS[form](files.parameter_tree(p, 2)))
    assert (model.card.config.fitting_net.frame_parameters, model.card.config.fitting_net.atom_parameters) == (2, 1)
    assert_agrees_with_parameters(model, p, 2)


@every_way
@pytest.mark.parametrize(("frame", "atom"), [(1, 0), (0, 2), (1, 1)])
def test_frame_or_atomic_parameters(frame, atom, way):
    p = files.with_parameters(parameters(), frame, atom)
    assert_agrees_with_parameters(from_bytes(files.dp(files.parameter_tree(p, frame))), p, frame, way)


def test_parameters_beside_inputs_that_tell_tasks_apart():
    p, task = files.with_parameters(parameters(), 1, 1), np.array([0.3, -0.2])
    wider = files.with_parameters(p, 0, 2, seed=7)  # more inputs at the end
    tree = files.parameter_tree(p._replace(fitting=wider.fitting), 1)
    tree["model"]["fitting"]["@variables"]["case_embd"] = task
    folded = [[net[0]._replace(weight=net[0].weight[:-2], bias=net[0].bias + task @ net[0].weight[-2:]), *net[1:]]
              for net in wider.fitting]
    assert_agrees_with_parameters(from_bytes(files.dp(tree)), p._replace(fitting=folded), 1)


def test_lone_atoms_of_a_model_with_parameters_are_refused():
    tree = files.parameter_tree(files.with_parameters(parameters(), 1, 0), 1, fitting={"atom_ener": [-1.0, -2.0]})
    with pytest.raises(ModelFileError, match="atom_ener with fparam or aparam cannot be read"):
        from_bytes(files.dp(tree))


REFUSED = [
    ({"descriptor": {"type": "dpa1"}}, "descriptor 'dpa1' .attention. cannot be read.*DeePMD-kit's own calculator"),
    ({"descriptor": {"type": "dpa3"}}, "descriptor 'dpa3' .message passing. cannot be read"),
    ({"descriptor": {"type": "se_e3"}}, "descriptor 'se_e3' .three-body embedding. cannot be read"),
    ({"descriptor": {"type": "hybrid", "list": [{"type": "se_e3"}]}}, "descriptor 'se_e3'.*cannot be read"),
    ({"descriptor": {"type": "hybrid", "list": [{"type": "hybrid"}]}}, "descriptor 'hybrid'.*one inside another"),
    ({"descriptor": {"env_protection": 1e-6}}, "env_protection = 1e-06 cannot be read"),
    ({"descriptor": {"activation_function": "mish"}}, "activation function 'mish' cannot be read"),
    ({"fitting": {"type": "dipole"}}, "fitting net 'dipole' cannot be read"),
    ({"fitting": {"type": "dos"}}, "fitting net 'dos' cannot be read"),
    ({"fitting": {"use_aparam_as_mask": True}}, "use_aparam_as_mask cannot be read"),
    ({"fitting": {"spin": {"use_spin": [True]}}}, "spin cannot be read"),
    ({"model": {"type": "pairtab"}}, "model of type 'pairtab' cannot be read"),
    ({"model": {"type_map": ["H", "H1"]}}, "chemical symbols in its type map, got .'H1'."),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED, ids=[message[:20] for _, message in REFUSED])
def test_what_cannot_be_read_is_refused_by_name(changes, message):
    p = parameters()
    if "activation_function" in changes.get("descriptor", {}):
        p = p._replace(activations=("mish", "tanh"))
    with pytest.raises(ModelFileError, match=f"model.dp: .*{message}"):
        from_bytes(files.dp(files.tree(p, **changes)), "model.dp")


def test_statistics_that_differ_between_slots_are_refused():
    p = parameters()
    tree = files.tree(p)
    tree["model"]["descriptor"]["@variables"]["davg"][0, 3, 0] += 0.1
    with pytest.raises(ModelFileError, match="differ from slot to slot"):
        from_bytes(files.dp(tree))


@pytest.mark.parametrize("form", ["dp", "pth"])
@pytest.mark.parametrize("nets", ["embedding", "fitting"])
def test_weights_that_are_not_finite_are_refused(nets, form):
    p = parameters()
    getattr(p, nets)[0][0].weight[0, 0] = np.nan
    with pytest.raises(ModelFileError, match=f"model.{form}: expected finite weights, got 1 that are not in .*{nets}"):
        from_bytes(FORMATS[form](files.tree(p)), f"model.{form}")


@pytest.mark.parametrize("form", FORMATS)
def test_truncated_files_are_refused_with_their_name(form):
    content = FORMATS[form](files.tree(parameters(fitting_neuron=(10, 10))))
    for part in (0.3, 0.6, 0.9, 0.99):
        with pytest.raises(ModelFileError, match="some/model"):
            from_bytes(content[: int(part * len(content))], "some/model")


def test_archive_that_asks_for_anything_else_is_refused():
    content = files.pth(files.tree(parameters())).replace(b"collections\nOrderedDict", b"subprocess\ncheck_call ")
    with pytest.raises(ModelFileError):
        from_bytes(content)


def test_more_neighbours_than_slots_in_a_part_of_a_hybrid():
    """Each part has its own cutoff, within which its neighbours count."""
    near, far = (replace(HybridPart(), rcut=rcut, l_max=1) for rcut in (3.0, 4.0))
    config = ModelConfig(("H", "O"), 4.0, "float64", HybridConfig(parts=(near, far)))
    atoms = random_atoms(8, seed=1)
    pairs = neighbor_pairs(atoms.positions, atoms.cell[:], atoms.pbc, 4.0)
    types = np.array([config.type_map.index(symbol) for symbol in atoms.symbols])
    close = np.linalg.norm(pairs.vectors, axis=1) < 3.0
    most = max(np.bincount(pairs.i[close & (types[pairs.j] == t)]).max() for t in (0, 1))

    def said(sel):
        return overfull(ModelCard(config, training={"imported": {"sel": sel}}), types, pairs)

    assert said([[most] * 2, [60, 60]]) is None
    assert "within 3 A" in said([[most - 1] * 2, [60, 60]])
    assert "within 4 A" in said([[most] * 2, [5, 5]])
