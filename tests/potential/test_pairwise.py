"""Models whose embedding nets are evaluated for every pair, against the definition: trained, folded, in files."""

import io

import numpy as np
import oracles
import pytest
import torch
from ase import Atoms
from builders import (
    arguments_of,
    card_as_written,
    energy_at,
    every_way,
    pairs_in,
    predict,
    predictor,
    random_atoms,
    random_model,
    types_in,
)

from ase_deeppot.interop import from_bytes
from ase_deeppot.potential import in_torch
from ase_deeppot.potential.archive import to_bytes
from ase_deeppot.potential.card import describe
from ase_deeppot.potential.descriptor import Structures
from ase_deeppot.potential.engine import engine
from ase_deeppot.potential.folding import fold, series_error

RELU = {"activation": "relu", "order": 0}
OPTIONS = [RELU, RELU | {"l_max": 1, "type_one_side": False, "resnet_dt": True},
           {"activation": "silut:0.5", "order": 0, "exclude_types": (("H", "O"),), "axis_neuron": 8,
            "bispectrum_neuron": 2},
           {"activation": "relu6", "order": 0, "neuron": (5,), "fitting_neuron": ()}]
PARTS = (RELU | {"rcut": 4.0}, {"rcut": 3.0, "kind": "radial", "neuron": (5, 10), "order": 140},
         {"rcut": 3.5, "kind": "radial", "activation": "silut", "order": 0, "exclude_types": (("H", "O"),)},
         {"rcut": 3.5, "axis_neuron": 2, "type_one_side": False})


def hybrid(**options):
    return random_model(sel=(40, 41), kind="hybrid", parts=PARTS, **options)


def assert_defined(model, got, atoms):
    types, p = types_in(model, atoms), oracles.parameters_of(model)
    around = oracles.neighbors(atoms.positions, atoms.cell[:], atoms.pbc, p.rcut)
    forces, virial = oracles.forces_and_virial(p, types, around)
    np.testing.assert_allclose(got.energies, oracles.atomic_energies(p, types, around), rtol=0, atol=1e-10)
    np.testing.assert_allclose(got.forces, forces, rtol=0, atol=1e-10)
    np.testing.assert_allclose(got.virials.sum(0), virial, rtol=0, atol=1e-10)


@every_way
@pytest.mark.parametrize("options", OPTIONS, ids=["orders 2 and 3", "two-side", "excluded", "no fitting layers"])
def test_against_the_definition(options, way):
    model, atoms = random_model(sel=(40, 41), **options), random_atoms(6, seed=1)
    assert_defined(model, predict(model, atoms, **way), atoms)


@every_way
@pytest.mark.parametrize("one_side", [True, False])
def test_radial_against_the_definition(one_side, way, monkeypatch):
    model, atoms = random_model(sel=(40, 41), kind="radial", type_one_side=one_side, **RELU), random_atoms(6, seed=1)
    monkeypatch.setattr(oracles.smooth, "descriptor", lambda *given: np.append(1.0, oracles.radial_descriptor(*given)))
    assert_defined(model, predict(model, atoms, **way), atoms)


@every_way
def test_hybrid_of_parts_with_a_series_and_without(way):
    model, atoms = hybrid(), random_atoms(5, seed=3)
    run = predictor(model, **way)
    got = run(atoms)
    expected = oracles.hybrid_energies(model, types_in(model, atoms), atoms.positions, atoms.cell[:], atoms.pbc)
    np.testing.assert_allclose(got.energies, expected, rtol=0, atol=1e-9)
    gradient = oracles.central_difference(energy_at(run, atoms), atoms.positions)
    np.testing.assert_allclose(got.forces, -gradient, rtol=0, atol=1e-7)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("make", [lambda **given: random_model(**RELU, **given), hybrid], ids=["alone", "hybrid"])
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_many_atoms_in_groups_in_a_file_and_by_its_program(make, precision, monkeypatch):
    reference, model, atoms = make(), make(precision=precision), random_atoms(60, seed=6)
    model.module.load_state_dict(reference.module.state_dict())
    expected, tolerance = predict(reference, atoms, eager=True), 1e-9 if precision == "float64" else 5e-3
    content = to_bytes(model)
    again, program = from_bytes(content), torch.jit.load(io.BytesIO(content))
    assert again.card.config == model.card.config
    monkeypatch.setattr(in_torch, "PAIRS_PER_CHUNK", {"cpu": 4096})
    for got in (predict(model, atoms, eager=True), predict(model, atoms), predict(again, atoms)):
        for name in ("energies", "forces", "virials"):
            np.testing.assert_allclose(getattr(got, name), getattr(expected, name), rtol=0, atol=tolerance)
    given = arguments_of(model, atoms)
    for one, other in zip(fold(model.module)(*given), program(*given), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-3 * tolerance)


@every_way
def test_atoms_without_neighbours(way):
    for model in (random_model(**RELU), hybrid()):
        run = predictor(model, **way)
        alone, none, two = run(Atoms("O")), run(Atoms()), run(Atoms("OO", [[0, 0, 0], [0, 0, 50]]))
        assert none.energies.shape == (0,)
        np.testing.assert_allclose(two.energies, alone.energies[0], rtol=1e-14)
        np.testing.assert_array_equal(two.forces, 0.0)


def test_groups_are_smaller_than_those_of_series():
    usual, own = (engine(random_model(order=order), compiled=False).pairs_per_chunk for order in (16, 0))
    assert own * in_torch.NETS == usual == in_torch.PAIRS_PER_CHUNK["cpu"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu():
    model, atoms = hybrid(), random_atoms(20)
    got = engine(model, "cuda").evaluate(types_in(model, atoms), pairs_in(model, atoms))
    for part, expected in zip(got, predict(model, atoms, compiled=False), strict=True):
        np.testing.assert_allclose(part, expected, rtol=0, atol=1e-9)


def test_sums_of_structures_are_those_of_the_engine():
    model, atoms = hybrid(), random_atoms(6, seed=1)
    types, i, _, vectors = arguments_of(model, atoms)
    j = torch.from_numpy(pairs_in(model, atoms).j)
    structures, geometry = Structures(types, i, j, vectors), model.module.descriptor.geometry()
    environment = geometry.environment(structures)
    k = model.module.respond(types, environment.features)[1].detach()
    forces, virials = geometry.forces_and_virials(structures, environment, k)
    expected = predict(model, atoms, compiled=False)
    np.testing.assert_allclose(forces, expected.forces, rtol=0, atol=1e-9)
    np.testing.assert_allclose(virials, expected.virials, rtol=0, atol=1e-9)


def test_the_card_says_so_and_why():
    model = random_model(**RELU)
    text, longest = describe(card_as_written(model)), series_error(model.module.descriptor, 256)
    assert ("series          none, its embedding nets (relu) are evaluated for every pair: 256 terms would differ from "
            f"them by {longest:.0e} of their range\n") in text
    assert longest == series_error(random_model(activation="relu", order=256).module.descriptor) > 1e-5
    assert series_error(model.module.descriptor) == 0.0
    assert describe(card_as_written(hybrid())).count("are evaluated for every pair") == 2
