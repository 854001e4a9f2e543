"""Hybrid descriptors: parts side by side, against the definition; trained, folded, compiled, in files."""

import io

import numpy as np
import oracles
import pytest
import torch
from builders import (
    arguments_of,
    assert_weight_derivative,
    energy_at,
    every_way,
    pairs_in,
    predict,
    predictor,
    random_atoms,
    random_model,
    types_in,
)

from ase_deeppot.config import parse
from ase_deeppot.errors import ConfigError
from ase_deeppot.interop import from_bytes
from ase_deeppot.potential.archive import to_bytes
from ase_deeppot.potential.card import describe
from ase_deeppot.potential.config import ModelConfig

PARTS = (
    {"rcut": 4.0},
    {"rcut": 3.0, "rcut_smth": 0.5, "kind": "radial", "neuron": (5, 10), "order": 140},
    {"rcut": 3.5, "axis_neuron": 2, "type_one_side": False, "exclude_types": (("H", "O"),), "bispectrum_neuron": 2},
)


def hybrid(**options):
    return random_model(sel=(40, 41), kind="hybrid", parts=options.pop("parts", PARTS), **options)


def energies(model, atoms, positions=None):
    positions = atoms.positions if positions is None else positions
    return oracles.hybrid_energies(model, types_in(model, atoms), positions, atoms.cell[:], atoms.pbc)


@every_way
@pytest.mark.parametrize("parts", [PARTS, PARTS[:1], PARTS[1:]], ids=["three", "one", "last"])
def test_against_the_definition(parts, way):
    model, atoms = hybrid(parts=parts, rcut=parts[0]["rcut"] if len(parts) != 2 else 3.5), random_atoms(6, seed=1)
    got = predict(model, atoms, **way)
    np.testing.assert_allclose(got.energies, energies(model, atoms), rtol=0, atol=1e-9)


@every_way
def test_forces_are_the_derivative_of_the_energy(way):
    model, atoms = hybrid(), random_atoms(4, seed=3)
    run = predictor(model, **way)
    gradient = oracles.central_difference(energy_at(run, atoms), atoms.positions)
    np.testing.assert_allclose(run(atoms).forces, -gradient, rtol=0, atol=1e-7)


@every_way
def test_many_atoms_and_both_precisions(way):
    model, single, atoms = hybrid(), hybrid(precision="float32"), random_atoms(150, seed=6)
    single.module.load_state_dict(model.module.state_dict())
    reference = predict(model, atoms, eager=True)
    got, rough = (predict(one, atoms, **way) for one in (model, single))
    for name in ("energies", "forces", "virials"):
        np.testing.assert_allclose(getattr(got, name), getattr(reference, name), rtol=0, atol=1e-8)
        np.testing.assert_allclose(getattr(rough, name), getattr(reference, name), rtol=0, atol=5e-3)
    np.testing.assert_allclose(got.closest, reference.closest, rtol=1e-12)


def test_parameters_stand_behind_all_parts():
    model, atoms = hybrid(frame_parameters=1), random_atoms(6, seed=1)
    given = np.full((6, 1), 0.7)
    expected, *others = (predictor(model, **way)(atoms, given)
                         for way in ({"eager": True}, {"compiled": False}, {"compiled": None}))
    for got in others:
        np.testing.assert_allclose(got.energies, expected.energies, rtol=0, atol=1e-9)
        np.testing.assert_allclose(got.forces, expected.forces, rtol=0, atol=1e-8)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_in_a_model_file_and_its_program():
    model, atoms = hybrid(), random_atoms(6, seed=1)
    content = to_bytes(model)
    again, expected = from_bytes(content), energies(model, atoms)
    assert again.card.config == model.card.config
    np.testing.assert_allclose(predict(again, atoms).energies, expected, rtol=0, atol=1e-9)
    types, pairs = types_in(model, atoms), pairs_in(model, atoms)
    arguments = [torch.from_numpy(array) for array in (types, pairs.i, types[pairs.j], pairs.vectors)]
    np.testing.assert_allclose(torch.jit.load(io.BytesIO(content))(*arguments)[0].numpy(), expected, rtol=0, atol=1e-9)
    text = describe(again.card)
    assert "hybrid, rcut 4 A, smooth to 4 A" in text
    assert "radial to 3 A" in text
    assert text.count("directions") == 3


@pytest.mark.parametrize("name", ["descriptor.parts.0.embedding.layers.1.weight",
                                  "descriptor.parts.1.embedding.layers.0.bias",
                                  "descriptor.parts.2.embedding.layers.1.weight",
                                  "fitting_net.nets.1.0.layers.0.weight", "fitting_net.nets.0.1.weight"])
def test_training_weights_have_the_right_derivatives(name):
    model, atoms = hybrid(), random_atoms(5, seed=2)
    assert_weight_derivative(model, name, arguments_of(model, atoms), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(("descriptor", "message"), [
    ({"kind": "hybrid"}, "some parts in a descriptor of kind hybrid"),
    ({"kind": "hybrid", "parts": [{"rcut": 4.0}, {"rcut": 5.0}]}, r"rcut = 5.0, the largest of the descriptor's parts"),
    ({"kind": "hybrid", "parts": [{"rcut": 6.0, "neurons": [3]}]}, r"unknown option 'neurons' in \[descriptor.parts"),
    ({"kind": "hybrid", "parts": [{"rcut": 6.0, "axis_neuron": 99}]}, "axis_neuron between 1"),
    ({"kind": "hybrid", "parts": [{"kind": "local_frame"}]}, "expected one of 'smooth', 'radial'"),
])
def test_options_are_checked(descriptor, message):
    with pytest.raises(ConfigError, match=message):
        parse(ModelConfig, {"descriptor": descriptor})
