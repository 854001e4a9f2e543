"""The chain from pairs to energies: against the oracle, its symmetries, its smoothness; trained, folded, compiled."""

import numpy as np
import oracles
import pytest
import torch
from ase import Atoms
from ase.build import make_supercell
from builders import energy_at, every_way, pairs_in, predict, predictor, random_atoms, random_model, types_in
from hypothesis import given
from hypothesis import strategies as st


def rotation(seed):
    q = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return q * np.linalg.det(q)


@given(n_types=st.integers(1, 3), n=st.integers(0, 7), one_side=st.booleans(), seed=st.integers(0, 1000),
       fitting=st.lists(st.integers(1, 6), max_size=3), timestep=st.booleans(), pbc=st.tuples(*[st.booleans()] * 3),
       activation=st.sampled_from(["tanh", "gelu", "silu", "softplus", "sigmoid"]), third=st.sampled_from([0, 2]))
def test_energies_are_the_reference_definition(n_types, n, one_side, seed, fitting, timestep, pbc, activation, third):
    symbols = ("H", "O", "Cu")[:n_types]
    model = random_model(symbols, seed=seed, rcut=3.0, sel=range(30, 30 + n_types), type_one_side=one_side,
                         fitting_neuron=fitting, fitting_resnet_dt=timestep, fitting_activation=activation,
                         bispectrum_neuron=third)
    atoms = random_atoms(n, symbols, seed=seed, pbc=pbc)
    around = oracles.neighbors(atoms.positions, atoms.cell[:], atoms.pbc, 3.0)
    expected = oracles.atomic_energies(oracles.parameters_of(model), types_in(model, atoms), around)
    np.testing.assert_allclose(predict(model, atoms, eager=True).energies, expected, rtol=1e-12)


@every_way
def test_float32_nets_agree_to_their_precision(way):
    double, single, atoms = random_model(), random_model(precision="float32"), random_atoms(8)
    single.module.load_state_dict(double.module.state_dict())
    exact, rounded = predict(double, atoms, **way), predict(single, atoms, **way)
    assert all(array.dtype == np.float64 for array in rounded)
    assert 0 < abs(rounded.energies - exact.energies).max() < 1e-5
    assert 0 < abs(rounded.forces - exact.forces).max() < 2e-5


@every_way
class TestInvariance:
    """Energies stay, forces turn with the structure. Tolerance: rounding of sums in another order."""

    model = random_model(seed=3, bispectrum_neuron=2)
    atoms = random_atoms(8, seed=5)
    same = np.eye(3)

    def check(self, way, changed, order=slice(None), turn=same):
        before, after = map(predictor(self.model, **way), (self.atoms, changed))
        np.testing.assert_allclose(after.energies, before.energies[order], rtol=1e-12)
        np.testing.assert_allclose(after.forces, before.forces[order] @ turn.T, atol=1e-12)
        np.testing.assert_allclose(after.virials.sum(0), turn @ before.virials.sum(0) @ turn.T, atol=1e-11)

    def test_translation_and_wrapping(self, way):
        moved = self.atoms.copy()
        moved.positions += [3.7, -20.1, 8.3]
        self.check(way, moved)
        moved.wrap()
        self.check(way, moved)

    def test_rotation_and_reflection(self, way):
        for turn in (rotation(0), -rotation(1)):
            turned = self.atoms.copy()
            turned.set_cell(self.atoms.cell[:] @ turn.T)
            turned.positions = self.atoms.positions @ turn.T
            self.check(way, turned, turn=turn)

    def test_permutation(self, way):
        order = np.random.default_rng(0).permutation(len(self.atoms))
        self.check(way, self.atoms[order], order=order)

    def test_supercell(self, way):
        order = np.tile(np.arange(len(self.atoms)), 4)
        before, after = map(predictor(self.model, **way), (self.atoms, self.atoms * (2, 1, 2)))
        np.testing.assert_allclose(after.energies, before.energies[order], rtol=1e-12)
        np.testing.assert_allclose(after.forces, before.forces[order], atol=1e-12)

    def test_another_cell_of_the_same_lattice(self, way):
        same = make_supercell(self.atoms, [[1, 1, 0], [0, 1, 0], [2, 0, 1]], wrap=False)
        assert same.cell.volume == pytest.approx(self.atoms.cell.volume)
        self.check(way, same)


@every_way
def test_forces_and_virial_sum_rules(way):
    prediction = predict(random_model(), random_atoms(10), **way)
    np.testing.assert_allclose(prediction.forces.sum(0), 0.0, atol=1e-13)
    total = prediction.virials.sum(0)
    np.testing.assert_allclose(total, total.T, atol=1e-12)  # the energy does not change under rotation


def pair_and_passer(distance):
    """An O-H pair, and an H at ``distance`` from the O that no other atom sees (rcut 4 A)."""
    return Atoms("OHH", [[0, 0, 0], [-1.2, 0.3, 0], [0.96 * distance, 0.28 * distance, 0]])


def derivatives_along(predict, distances):
    """E, dE/dr and d2E/dr2 as the third atom moves away from the first, from the forces and their slopes."""
    direction, h = np.array([0.96, 0.28, 0.0]), 1e-5

    def slope(r):
        return -predict(pair_and_passer(r)).forces[2] @ direction

    energy = [predict(pair_and_passer(r)).energies.sum() for r in distances]
    return np.array([energy, [slope(r) for r in distances],
                     [(slope(r + h) - slope(r - h)) / (2 * h) for r in distances]]).T


@pytest.mark.parametrize("edge", [1.5, 4.0])
@pytest.mark.parametrize("one_side", [True, False])
@every_way
def test_energy_is_smooth_to_second_derivative_at(edge, one_side, way):
    """Across rcut_smth and rcut the differences of E, E' and E'' shrink with the step, as those of a C2 function."""
    predict = predictor(random_model(rcut=4.0, rcut_smth=1.5, seed=2, type_one_side=one_side), **way)
    steps = np.array([0.04, 0.02, 0.01, 0.005])
    changes = np.array([abs(np.diff(derivatives_along(predict, [edge - h, edge + h]), axis=0)[0]) for h in steps])
    assert changes[0].max() > 1e-4  # something does happen
    for n in range(3):
        assert changes[-1, n] < 0.2 * changes[0, n] + 1e-7, f"derivative {n} jumps by {changes[-1, n]}"


@every_way
def test_nothing_is_left_of_an_atom_beyond_the_cutoff(way):
    predict = predictor(random_model(rcut=4.0, rcut_smth=1.5, seed=2), **way)
    near, far, farther = derivatives_along(predict, [4.0 - 1e-3, 4.0 + 1e-3, 9.0])
    np.testing.assert_array_equal(far, farther)
    np.testing.assert_allclose(near, farther, atol=0.1)
    assert near[0] != far[0]


@every_way
def test_more_neighbors_than_sel_stay_smooth(way):
    """sel is a constant of the normalisation: nobody is dropped when it is exceeded."""
    predict = predictor(random_model(sel=[1, 2], rcut=4.0, rcut_smth=1.5), **way)
    atoms = random_atoms(9, seed=1)
    energy = energy_at(predict, atoms)
    forces = predict(atoms).forces
    np.testing.assert_allclose(forces, -oracles.central_difference(energy, atoms.positions), rtol=1e-6, atol=1e-6)
    path = [energy(atoms.positions + x * np.eye(9, 3)) for x in np.linspace(0, 0.02, 41)]
    assert abs(np.diff(path, 4)).max() < 1e-3 * np.ptp(path)


@every_way
def test_isolated_atoms_have_no_forces_and_each_its_own_energy(way):
    model = random_model()
    atoms = Atoms("HOH", [[0, 0, 0], [50, 0, 0], [0, 50, 0]])
    prediction = predict(model, atoms, **way)
    np.testing.assert_array_equal(prediction.forces, 0.0)
    np.testing.assert_array_equal(prediction.virials, 0.0)
    assert prediction.energies[0] == pytest.approx(prediction.energies[2], rel=1e-14)
    p = oracles.parameters_of(model)
    np.testing.assert_allclose(prediction.energies, oracles.atomic_energies(p, [0, 1, 0], [[], [], []]), rtol=1e-9)


@every_way
def test_no_atoms(way):
    prediction = predict(random_model(), Atoms(), **way)
    assert [array.shape for array in prediction] == [(0,), (0, 3), (0, 3, 3), (2, 2)]


def test_unsorted_pairs_are_refused():
    model = random_model()
    types, i, vectors = torch.zeros(2, dtype=torch.int64), torch.tensor([1, 0]), torch.ones(2, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match="expected pairs in ascending order of their centre"):
        model.module(types, i, torch.zeros(2, dtype=torch.int64), vectors)


@pytest.mark.parametrize("options", [{}, {"type_one_side": False, "fitting_neuron": (44, 5), "resnet_dt": True},
                                     {"bispectrum_neuron": 2}, {"bispectrum_neuron": 2, "l_max": 6}])
def test_energies_and_gradient_can_be_differentiated_by_the_weights(options):
    """In training: along a random direction in the space of all weights, against a central difference."""
    model, atoms = random_model(order=20, **options), random_atoms(4)
    pairs, types, rng = pairs_in(model, atoms), types_in(model, atoms), np.random.default_rng(0)
    given = tuple(map(torch.from_numpy, (types, pairs.i, types[pairs.j], pairs.vectors)))
    a, b = (torch.from_numpy(rng.normal(size=shape)) for shape in (types.shape, pairs.vectors.shape))
    module, parameters = model.module.train(), list(model.module.parameters())
    along = [torch.from_numpy(rng.normal(size=tuple(parameter.shape))) for parameter in parameters]

    def value():
        energies, gradient = module(*given)
        return (a * energies).sum() + (b * gradient).sum()

    def moved(step):
        with torch.no_grad():
            for parameter, direction in zip(parameters, along, strict=True):
                parameter += step * direction
        return value().item()

    slopes = torch.autograd.grad(value(), parameters)
    slope = sum((part * direction).sum().item() for part, direction in zip(slopes, along, strict=True))
    assert (moved(1e-5) - moved(-2e-5)) / 2e-5 == pytest.approx(slope, rel=1e-6)
