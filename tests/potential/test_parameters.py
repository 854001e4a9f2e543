"""Parameters of the frame and the atoms: inputs of the fitting net beside the descriptor."""

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
    needs_numba,
    pairs_in,
    predictor,
    random_atoms,
    random_model,
    types_in,
)

from ase_deeppot.errors import ModelFileError
from ase_deeppot.interop import from_bytes
from ase_deeppot.potential import parameters
from ase_deeppot.potential.archive import to_bytes
from ase_deeppot.potential.config import FittingNetConfig
from ase_deeppot.potential.engine import engine

# A first layer that changes the width, keeps it (24 + 3), doubles it; no hidden layer at all.
SHAPES = [(10, 10), (27, 10), (54,), ()]


def with_parameters(**options):
    return random_model(sel=(40, 41), **{"l_max": 1, "frame_parameters": 2, "atom_parameters": 1, **options})


def values(n, k=3, seed=5):
    return np.random.default_rng(seed).uniform(-2, 2, (n, k))


def expected(model, atoms, given):
    p = oracles.parameters_of(model)._replace(extra=given)
    types, around = types_in(model, atoms), oracles.neighbors(atoms.positions, atoms.cell[:], atoms.pbc, p.rcut)
    return (oracles.atomic_energies(p, types, around), *oracles.forces_and_virial(p, types, around))


@every_way
@pytest.mark.parametrize("shape", SHAPES)
def test_against_the_definition(shape, way):
    model, atoms, given = with_parameters(fitting_neuron=shape), random_atoms(7, seed=1), values(7)
    got = predictor(model, **way)(atoms, given)
    energies, forces, virial = expected(model, atoms, given)
    np.testing.assert_allclose(got.energies, energies, rtol=0, atol=1e-9)
    np.testing.assert_allclose(got.forces, forces, rtol=0, atol=1e-8)
    np.testing.assert_allclose(got.virials.sum(0), virial, rtol=0, atol=1e-8)


@every_way
@pytest.mark.parametrize("counts", [(2, 0), (0, 1)])
def test_of_the_frame_or_the_atoms_alone_and_radial(counts, way):
    options = {"frame_parameters": counts[0], "atom_parameters": counts[1]}
    model, atoms, given = with_parameters(**options), random_atoms(5, seed=2), values(5, sum(counts))
    got = predictor(model, **way)(atoms, given)
    np.testing.assert_allclose(got.energies, expected(model, atoms, given)[0], rtol=0, atol=1e-9)
    radial = with_parameters(kind="radial", **options)
    trained, run = (predictor(radial, **how)(atoms, given) for how in ({"eager": True}, way))
    np.testing.assert_allclose(run.energies, trained.energies, rtol=0, atol=1e-9)
    np.testing.assert_allclose(run.forces, trained.forces, rtol=0, atol=1e-8)


@every_way
def test_forces_are_the_derivative_of_the_energy(way):
    model, atoms, given = with_parameters(), random_atoms(4, seed=3), values(4)
    predict = predictor(model, **way)
    energy = energy_at(lambda moved: predict(moved, given), atoms)
    gradient = oracles.central_difference(energy, atoms.positions)
    np.testing.assert_allclose(predict(atoms, given).forces, -gradient, rtol=0, atol=1e-7)


@every_way
def test_single_precision(way):
    double, single = with_parameters(), with_parameters(precision="float32")
    single.module.load_state_dict(double.module.state_dict())
    atoms, given = random_atoms(20, seed=4), values(20)
    got, reference = predictor(single, **way)(atoms, given), predictor(double, compiled=False)(atoms, given)
    scale = np.abs(reference.forces).max()
    np.testing.assert_allclose(got.energies, reference.energies, rtol=0, atol=1e-4)
    np.testing.assert_allclose(got.forces, reference.forces, rtol=0, atol=1e-4 * max(1.0, scale))


@needs_numba
def test_several_groups_and_chunks():
    model, atoms, given = with_parameters(), random_atoms(300, seed=6), values(300)
    compiled, in_torch = (predictor(model, compiled=choice)(atoms, given) for choice in (True, False))
    np.testing.assert_allclose(compiled.energies, in_torch.energies, rtol=0, atol=1e-10)
    np.testing.assert_allclose(compiled.forces, in_torch.forces, rtol=0, atol=1e-9)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_in_a_model_file_and_its_program():
    model, atoms, given = with_parameters(), random_atoms(6, seed=1), values(6)
    content = to_bytes(model)
    again = from_bytes(content)
    assert again.card.config == model.card.config
    energies = expected(model, atoms, given)[0]
    np.testing.assert_allclose(predictor(again, compiled=False)(atoms, given).energies, energies, rtol=0, atol=1e-9)
    types, pairs = types_in(model, atoms), pairs_in(model, atoms)
    program = torch.jit.load(io.BytesIO(content))
    arguments = [torch.from_numpy(array) for array in (types, pairs.i, types[pairs.j], pairs.vectors, given)]
    np.testing.assert_allclose(program(*arguments)[0].numpy(), energies, rtol=0, atol=1e-9)
    with pytest.raises(torch.jit.Error, match=r"expected parameters \[6, 3\], got none"):
        program(*arguments[:4])


def test_training_weights_have_the_right_derivatives():
    model, atoms = with_parameters(), random_atoms(5, seed=2)
    arguments = [*arguments_of(model, atoms), torch.from_numpy(values(5))]
    assert_weight_derivative(model, "fitting_net.nets.0.0.layers.0.weight", arguments, rel=1e-6)


@every_way
@pytest.mark.parametrize(("given", "got"), [(None, "none"), (np.zeros((6, 2)), r"\[6, 2\]")])
def test_engines_say_what_they_expect(given, got, way):
    with pytest.raises(ValueError, match=rf"expected parameters \[6, 3\], got {got}"):
        predictor(with_parameters(), **way)(random_atoms(6), given)


def test_a_model_without_takes_none():
    model, atoms = random_model(), random_atoms(6)
    assert not [name for name in model.module.state_dict() if "parameter" in name]
    with pytest.raises(ValueError, match=r"expected parameters \[6, 0\], got \[6, 1\]"):
        predictor(model, compiled=False)(atoms, np.zeros((6, 1)))


@needs_numba
def test_the_first_engine_warms_up_with_parameters():
    model, atoms, given = with_parameters(), random_atoms(6, seed=1), values(6)
    got = engine(model).evaluate(types_in(model, atoms), pairs_in(model, atoms), parameters=given)
    np.testing.assert_allclose(got.energies, expected(model, atoms, given)[0], rtol=0, atol=1e-9)


def test_refusal_says_what_and_where():
    parameters.refuse(FittingNetConfig(), "in LAMMPS")
    with pytest.raises(ModelFileError, match=r"\(2 fparam, 1 aparam\) cannot be used in LAMMPS, only in DeepPotCalc"):
        parameters.refuse(FittingNetConfig(frame_parameters=2, atom_parameters=1), "in LAMMPS")
