"""Forces and virials against the derivatives of the oracle's energy, and of the model's own."""

import numpy as np
import oracles
import pytest
import torch
from builders import SKEWED, every_way, predict, predictor, random_atoms, random_model, types_in
from hypothesis import given, settings
from hypothesis import strategies as st

from ase_deeppot.potential.derivatives import forces, virials

PERIODICITIES = [(x, y, z) for x in (False, True) for y in (False, True) for z in (False, True)]


@every_way
@pytest.mark.parametrize("pbc", [(False, False, False), (True, False, True), (True, True, True)])
def test_forces_and_virial_are_those_of_the_oracles_energy(pbc, way):
    model, atoms = random_model(), random_atoms(3, cell=0.8 * SKEWED, pbc=pbc)
    p, types = oracles.parameters_of(model), types_in(model, atoms)
    force, virial = oracles.forces_and_virial(p, types, oracles.neighbors(atoms.positions, atoms.cell[:], pbc, p.rcut))
    got = predict(model, atoms, **way)
    assert abs(force).max() > 1e-2
    np.testing.assert_allclose(got.forces, force, atol=1e-9)
    np.testing.assert_allclose(got.virials.sum(0), virial, atol=1e-8)


def energy(predict, atoms, positions, cell):
    changed = atoms.copy()
    changed.set_cell(cell)
    changed.positions = positions
    return predict(changed).energies.sum()


@every_way
@settings(max_examples=6)
@given(n=st.integers(1, 5), one_side=st.booleans(), seed=st.integers(0, 100), pbc=st.sampled_from(PERIODICITIES),
       third=st.sampled_from([0, 2]))
def test_forces_are_minus_the_derivative_of_the_energy(n, one_side, seed, pbc, third, way):
    predict = predictor(random_model(seed=seed, type_one_side=one_side, bispectrum_neuron=third), **way)
    atoms = random_atoms(n, seed=seed, pbc=pbc)
    expected = -oracles.central_difference(lambda x: energy(predict, atoms, x, atoms.cell), atoms.positions)
    np.testing.assert_allclose(predict(atoms).forces, expected, atol=1e-8)


@every_way
@pytest.mark.parametrize("third", [0, 2])
@pytest.mark.parametrize("pbc", PERIODICITIES)
def test_virial_is_minus_the_derivative_by_strain(pbc, third, way):
    predict, atoms = predictor(random_model(bispectrum_neuron=third), **way), random_atoms(6, seed=4, pbc=pbc)

    def strained(strain):
        f = np.eye(3) + strain
        return energy(predict, atoms, atoms.positions @ f, atoms.cell[:] @ f)

    expected = -oracles.central_difference(strained, np.zeros((3, 3)))
    np.testing.assert_allclose(predict(atoms).virials.sum(0), expected, atol=1e-8)


@every_way
def test_atomic_virials_are_those_of_the_heat_current(way):
    """``W_j = -sum_i (r_j - r_i) (x) dE_i/dr_j``: the work of all the other energies on atom j (open boundaries)."""
    predict, atoms = predictor(random_model(), **way), random_atoms(5, pbc=False)
    expected = np.zeros((5, 3, 3))
    slopes = oracles.central_difference(lambda x: predict(_at(atoms, x)).energies, atoms.positions)  # [j, c, i]
    for i in range(5):
        for j in range(5):
            if j != i:
                expected[j] -= np.outer(atoms.positions[j] - atoms.positions[i], slopes[j, :, i])
    np.testing.assert_allclose(predict(atoms).virials, expected, atol=1e-8)


def _at(atoms, positions):
    moved = atoms.copy()
    moved.positions = positions
    return moved


def test_sums_over_pairs():
    rng = np.random.default_rng(0)
    i, j = np.array([0, 0, 2, 3]), np.array([1, 3, 0, 3])
    gradient, vectors = rng.normal(size=(2, 4, 3))
    force, virial = np.zeros((5, 3)), np.zeros((5, 3, 3))
    for e in range(4):
        force[i[e]] += gradient[e]
        force[j[e]] -= gradient[e]
        virial[j[e]] -= np.outer(vectors[e], gradient[e])
    tensors = [torch.from_numpy(a) for a in (gradient, i, j)]
    np.testing.assert_allclose(forces(*tensors, 5).numpy(), force, atol=1e-15)
    got = virials(tensors[0], torch.from_numpy(vectors), tensors[2], 5)
    np.testing.assert_allclose(got.numpy(), virial, atol=1e-15)
