"""Models for DeePMD-kit: the numbers of the tree, the way back, and DeePMD-kit itself where it is installed."""

from dataclasses import replace

import numpy as np
import oracles
import pytest
from builders import assert_same_weights, predict, predictor, random_atoms, random_model, types_in

from ase_deeppot.errors import ModelFileError
from ase_deeppot.interop import load_model
from ase_deeppot.interop.deepmd_tree import read_hdf5
from ase_deeppot.interop.export import export, to_dp
from ase_deeppot.interop.into_model import to_model
from interop.deepmd_kit import answer, assert_same, convert, needs
from interop.test_load import assert_agrees

OPTIONS = [{}, {"type_one_side": False, "resnet_dt": True, "activation": "gelu"}, {"exclude_types": (("H", "O"),)},
           {"fitting_neuron": ()}, {"fitting_activation": "relu"}, {"precision": "float32"},
           {"fitting_activation": "silut"}]
RADIAL = {"kind": "radial", "resnet_dt": True}
HYBRID = {"kind": "hybrid", "parts": [
    {"rcut": 4.0, "exclude_types": (("H", "O"),)},
    {"rcut": 3.0, "rcut_smth": 0.5, "kind": "radial", "neuron": (5, 10), "exclude_types": (("O", "H"),)},
    {"rcut": 3.5, "axis_neuron": 2, "type_one_side": False, "exclude_types": (("H", "O"),)}]}
SILUT = {"fitting_activation": "silut:0.5"}
KINKS = [{"activation": "relu", "order": 0, "type_one_side": False, "resnet_dt": True},
         {"activation": "relu6", "order": 0, "kind": "radial"}, {"activation": "silut:0.5", "order": 0}]
KINKED_HYBRID = {"kind": "hybrid", "parts": [{"rcut": 4.0, "activation": "relu", "order": 0}, {"rcut": 3.0}]}
PARAMETERS = {"frame_parameters": 2, "atom_parameters": 1}


def given(n):
    """Parameters of n atoms, of which the first two are of the frame."""
    rng = np.random.default_rng(3)
    return np.column_stack([np.tile(rng.uniform(-1, 1, 2), (n, 1)), rng.uniform(-1, 1, n)])


@pytest.mark.parametrize("options", [*OPTIONS, RADIAL, HYBRID, RADIAL | {"fitting_neuron": ()}, *KINKS, KINKED_HYBRID])
def test_the_tree_is_the_model(options):
    model = random_model(l_max=1, sel=(40, 41), **options)
    tolerance = {"rtol": 0, "atol": 1e-8} if options.get("precision") != "float32" else {"rtol": 0, "atol": 2e-4}
    again, atoms = to_model(read_hdf5(to_dp(model), None)), random_atoms(6, seed=1)
    for got, expected in zip(predict(again, atoms, compiled=False)[:3], predict(model, atoms, compiled=False)[:3],
                             strict=True):
        np.testing.assert_allclose(got, expected, **tolerance)


@pytest.mark.parametrize("options", [PARAMETERS, {"frame_parameters": 2, "fitting_neuron": ()},
                                     {"atom_parameters": 3, "fitting_neuron": (12,)}])
def test_the_tree_has_the_parameters(options):
    model, atoms = random_model(l_max=1, sel=(40, 41), **options), random_atoms(6, seed=1)
    values = given(6)[:, : model.card.config.fitting_net.parameters]
    again = to_model(read_hdf5(to_dp(model), None))
    got, expected = (predictor(one, compiled=False)(atoms, values) for one in (again, model))
    np.testing.assert_allclose(got.energies, expected.energies, rtol=0, atol=1e-9)
    np.testing.assert_allclose(got.forces, expected.forces, rtol=0, atol=1e-8)


def test_default_parameters_go_along():
    model = random_model(l_max=1, sel=(40, 41), frame_parameters=2)
    net = replace(model.card.config.fitting_net, default_frame_parameters=(0.5, 300.0))
    model = model._replace(card=replace(model.card, config=replace(model.card.config, fitting_net=net)))
    assert to_model(read_hdf5(to_dp(model), None)).card.config.fitting_net == net


def test_the_tree_holds_the_nets_themselves():
    model = random_model(l_max=1, sel=(40, 41), order=8)  # whose series is far from its net
    assert_agrees(to_model(read_hdf5(to_dp(model), None)), oracles.parameters_of(model))


def test_there_and_back_is_the_same_to_the_digit(tmp_path):
    model = random_model(l_max=1, sel=(40, 41), order=24, smallest_distance={"H-O": 0.9})
    error = export(model, tmp_path / "model.dp")
    back = load_model(tmp_path / "model.dp")
    assert_same_weights(back.module, model.module)
    assert back.card.config == model.card.config
    assert back.card.domain == model.card.domain
    assert error == pytest.approx(back.card.series["error"])


def test_nets_without_a_series_are_exported_as_they_are(tmp_path):
    assert export(random_model(l_max=1, sel=(40, 41), **KINKS[0]), tmp_path / "model.dp") == 0.0


def test_what_has_no_equal_there_is_refused(tmp_path):
    with pytest.raises(ModelFileError, match="whole numbers of slots"):
        export(random_model(l_max=1, sel=(40.5, 41)), tmp_path / "model.dp")
    with pytest.raises(ModelFileError, match="keeps or doubles the width of its input, 24"):
        export(random_model(l_max=1, sel=(40, 41), fitting_neuron=(24, 24)), tmp_path / "model.dp")
    with pytest.raises(ModelFileError, match="keeps or doubles the width of its input, 27"):
        export(random_model(l_max=1, sel=(40, 41), fitting_neuron=(54,), **PARAMETERS), tmp_path / "model.dp")
    with pytest.raises(ModelFileError, match="keeps or doubles the width of its input, 8"):
        export(random_model(l_max=1, sel=(40, 41), fitting_neuron=(16,), kind="radial"), tmp_path / "model.dp")
    differing = random_model(l_max=1, sel=(40, 41), kind="hybrid", parts=[HYBRID["parts"][0], {"rcut": 3.0}])
    with pytest.raises(ModelFileError, match="some parts of a hybrid descriptor have and others have not"):
        export(differing, tmp_path / "model.dp")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [
    {"l_max": 3}, {"kind": "hybrid", "parts": [{"rcut": 4.0, "l_max": 1}, {"rcut": 3.0}]}], ids=["smooth", "hybrid"])
def test_angular_orders_are_refused_with_the_reason(options, tmp_path):
    with pytest.raises(ModelFileError, match=r"angular orders above 1, here 3, cannot be exported.*l_max = 1"):
        export(random_model(sel=(40, 41), **options), tmp_path / "model.dp")
    assert list(tmp_path.iterdir()) == []


def test_local_frames_are_refused(tmp_path):
    with pytest.raises(ModelFileError, match="a model with descriptor 'local_frame' cannot be exported"):
        export(random_model(kind="local_frame"), tmp_path / "model.dp")


@needs("torch")
@pytest.mark.parametrize("options", [*OPTIONS[:3], PARAMETERS, RADIAL, HYBRID, SILUT, *KINKS, KINKED_HYBRID])
def test_deepmd_kit_gives_our_numbers(options, tmp_path):
    assert_given_by("torch", "model.pth", options, tmp_path)


@needs("tensorflow")  # which has no pair_exclude_types
@pytest.mark.parametrize("options", [*OPTIONS[:2], PARAMETERS, SILUT, *KINKS, KINKED_HYBRID])
def test_its_tensorflow_backend_gives_our_numbers(options, tmp_path):
    assert_given_by("tensorflow", "model.pb", options, tmp_path)


@needs("tensorflow")
def test_a_hybrid_comes_back_from_a_graph(tmp_path):
    parts = [{**part, "exclude_types": ()} for part in HYBRID["parts"]]
    assert_given_by("tensorflow", "model.pb", HYBRID | {"parts": parts}, tmp_path)


def assert_given_by(backend, name, options, folder):
    """DeePMD-kit makes another file of the exported one, answers with it what we do, and we read that file again."""
    model, atoms, frame = random_model(l_max=1, sel=(40, 41), **options), random_atoms(8, seed=1), 0
    parameters = None
    if "frame_parameters" in options:
        frame, parameters = options["frame_parameters"], given(8)
    export(model, folder / "model.dp")
    convert(backend, folder, "model.dp", name)
    theirs = answer(backend, folder, name, types_in(model, atoms), atoms, parameters, frame)
    assert_same(model, atoms, theirs, parameters)
    assert_same(load_model(folder / name), atoms, theirs, parameters)
