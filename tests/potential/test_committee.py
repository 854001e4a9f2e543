"""The mean of several models: of what each of them says, with their distances from it."""

import numpy as np
import pytest
from builders import needs_numba, random_atoms, random_model, types_in

from ase_deeppot.errors import ModelFileError
from ase_deeppot.neighbors import neighbor_pairs
from ase_deeppot.potential.committee import mean, together
from ase_deeppot.potential.engine import engine
from ase_deeppot.potential.prediction import Prediction


def made_up(n, seed):
    rng = np.random.default_rng(seed)
    return Prediction(rng.normal(size=n), rng.normal(size=(n, 3)), rng.normal(size=(n, 3, 3)), np.ones((2, 2)))


def test_mean_and_deviation():
    found = [made_up(5, seed) for seed in range(3)]
    result, deviation = mean(found)
    for name in ("energies", "forces", "virials"):
        expected = sum(getattr(one, name) for one in found) / 3
        np.testing.assert_allclose(getattr(result, name), expected, rtol=0, atol=1e-15)
    for atom in range(5):
        distances = [np.linalg.norm(one.forces[atom] - result.forces[atom]) for one in found]
        assert deviation.forces[atom] == pytest.approx(np.sqrt(np.dot(distances, distances) / 3), abs=1e-14)
    totals = [one.energies.sum() for one in found]
    assert deviation.energy == pytest.approx(np.sqrt(np.mean((totals - np.mean(totals)) ** 2)), abs=1e-14)


@pytest.mark.parametrize("n", [0, 1])
def test_few_atoms(n):
    result, deviation = mean([made_up(n, seed) for seed in range(2)])
    assert result.forces.shape == (n, 3)
    assert deviation.forces.shape == (n,)


def test_models_that_agree_have_no_deviation():
    _, deviation = mean([made_up(4, seed=1)] * 4)
    assert deviation.energy == 0.0
    assert not deviation.forces.any()


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=needs_numba)])
def test_committee_of_engines(compiled):
    models = [random_model(seed=seed, precision=precision) for seed, precision in ((1, "float64"), (2, "float32"))]
    atoms = random_atoms(12)
    pairs = neighbor_pairs(atoms.positions, atoms.cell[:], atoms.pbc, 4.0)
    types = types_in(models[0], atoms)

    def ready(model):
        return engine(model, compiled=compiled)

    assert together(models[:1], ready).evaluate(types, pairs)[1] is None
    expected, expected_deviation = mean([ready(model).evaluate(types, pairs) for model in models])
    result, deviation = together(models, ready).evaluate(types, pairs)
    for one, other in zip(result, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(deviation.forces, expected_deviation.forces, rtol=1e-5)


@pytest.mark.parametrize(("options", "message"), [
    ({"type_map": ("H", "C")}, "the same elements, got H, O in the first and C, H in number 3"),
    ({"type_map": ("H", "O", "C")}, "the same elements, got H, O in the first and C, H, O in number 3"),
    ({"rcut": 4.5}, "the same cutoff, got 4 A in the first and 4.5 A in number 3"),
    ({"frame_parameters": 2}, "the same parameters beside the structure, got 0 of the frame and 0 of an atom in the "
                              "first and 2 of the frame and 0 of an atom in number 3"),
])
def test_models_that_do_not_belong_together(options, message):
    models = [random_model(seed=1), random_model(seed=2), random_model(seed=3, **options)]
    with pytest.raises(ModelFileError, match=message):
        together(models, engine)
