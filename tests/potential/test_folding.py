"""The folded model is the trained one, and both are the exact nets where the series has converged."""

import copy

import numpy as np
import oracles
import pytest
import torch
from builders import both_engines, energy_at, pairs_in, predict, predictor, random_atoms, random_model, types_in
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.polynomial import chebyshev

from ase_deeppot.neighbors import neighbor_pairs
from ase_deeppot.potential.archive import script
from ase_deeppot.potential.directions import MULTIPLE
from ase_deeppot.potential.folding import describe_series, fold

ACTIVATIONS = ["tanh", "gelu", "silu", "softplus", "sigmoid", "silut:0.5"]

# By precision: energies, and forces and virials, relative to the largest force, 1 eV/A at least.
SAME = {"float64": (1e-10, 2e-8), "float32": (1e-5, 5e-5)}

SHAPES = {  # the descriptor has 3 * 8 + 2 * 5 * 2 components by default
    "one species": {"type_map": ("H",)},
    "three species": {"type_map": ("H", "O", "Cu")},
    "nets by pair of species": {"type_one_side": False, "resnet_dt": True},
    "deep": {"neuron": (4, 4, 8, 8), "resnet_dt": True, "fitting_neuron": (10, 10, 20, 5)},
    "no timestep": {"fitting_neuron": (10, 10), "fitting_resnet_dt": False},
    "shortcut around the first layer": {"fitting_neuron": (44, 44)},
    "shortcut without timestep": {"fitting_neuron": (44,), "fitting_resnet_dt": False},
    "shortcut to twice the width": {"fitting_neuron": (88,)},
    "no hidden layer": {"fitting_neuron": ()},
    "more axis neurons than directions": {"type_map": ("H",), "order": 4, "neuron": (4, 16), "axis_neuron": 12},
    "and a shortcut": {"type_map": ("H",), "order": 4, "neuron": (4, 16), "axis_neuron": 12, "fitting_neuron": (212,)},
    "all neurons are axis": {"axis_neuron": 8},
    "seven directions": {"neuron": (7,), "axis_neuron": 5},
    "a single neuron": {"neuron": (1,), "axis_neuron": 1},
    "a bispectrum": {"bispectrum_neuron": 2, "fitting_neuron": (68, 10)},
    "a bispectrum of order 2": {"l_max": 2, "bispectrum_neuron": 1, "type_map": ("H",)},
    "a bispectrum and no hidden layer": {"bispectrum_neuron": 2, "fitting_neuron": (), "type_one_side": False},
    "a bispectrum and higher orders": {"bispectrum_neuron": 2, "l_max": 5},
    "two terms": {"order": 2},
    "five terms": {"order": 5},
}


def assert_same(model, atoms, **way):
    got, expected = predict(model, atoms, **way), predict(model, atoms, eager=True)
    scale = max(1.0, abs(expected.forces).max(initial=0.0))
    energy, slope = (scale * tolerance for tolerance in SAME[model.card.config.precision])
    np.testing.assert_allclose(got.energies, expected.energies, rtol=0, atol=energy)
    np.testing.assert_allclose(got.forces, expected.forces, rtol=0, atol=slope)
    np.testing.assert_allclose(got.virials, expected.virials, rtol=0, atol=slope)


def test_shortcuts_are_among_the_shapes():
    for name in (name for name in SHAPES if "shortcut" in name or name == "a bispectrum"):
        assert random_model(**SHAPES[name]).module.fitting_net.parts(0)[0][0].copies > 0, name


@both_engines
@pytest.mark.parametrize("precision", SAME)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_equals_the_trained_model(shape, precision, compiled):
    model = random_model(precision=precision, **shape)
    assert_same(model, random_atoms(9, model.card.type_map), compiled=compiled)


@pytest.mark.parametrize("precision", SAME)
@given(embedding=st.sampled_from(ACTIVATIONS), fitting=st.sampled_from(ACTIVATIONS), n_types=st.integers(1, 3),
       one_side=st.booleans(), timestep=st.booleans(), seed=st.integers(0, 100), data=st.data(),
       neuron=st.lists(st.integers(1, 9), min_size=1, max_size=3))
def test_equals_the_trained_model_of_any_shape(precision, embedding, fitting, n_types, one_side, timestep, seed, data,
                                               neuron):
    axis = data.draw(st.integers(1, neuron[-1]))
    width = axis * neuron[-1] + 2 * min(5, neuron[-1]) * min(2, neuron[-1])
    widths = data.draw(st.lists(st.sampled_from([3, 6, 7, width, 2 * width]), max_size=3))
    model = random_model(("H", "O", "Cu")[:n_types], seed=seed, precision=precision, activation=embedding,
                         fitting_activation=fitting, type_one_side=one_side, resnet_dt=timestep, neuron=neuron,
                         fitting_resnet_dt=timestep, axis_neuron=axis, fitting_neuron=widths, order=12)
    assert model.module.descriptor.width == width
    assert_same(model, random_atoms(4, model.card.type_map, seed=seed), compiled=False)


# Against the exact nets -----------------------------------------------------------------------------------------------

def distorted(kind, seed):
    """Hot, 15 % smaller, or 40 % larger; no pair closer than the series reaches."""
    atoms = random_atoms(6, seed=seed)
    scale = {"hot": 1.0, "compressed": 0.85 ** (1 / 3), "stretched": 1.4 ** (1 / 3)}[kind]
    atoms.set_cell(atoms.cell * scale, scale_atoms=True)
    if kind == "hot":
        atoms.rattle(0.15, seed=seed)
    return atoms


@both_engines
@pytest.mark.parametrize("kind", ["hot", "compressed", "stretched"])
@settings(max_examples=8)
@given(seed=st.integers(0, 1000), one_side=st.booleans())
def test_energies_and_forces_are_those_of_the_exact_nets(compiled, kind, seed, one_side):
    model, atoms = random_model(seed=7, type_one_side=one_side, sel=[50, 50]), distorted(kind, seed)
    p, types = oracles.parameters_of(model), types_in(model, atoms)
    around = oracles.neighbors(atoms.positions, atoms.cell[:], atoms.pbc, p.rcut)
    assume(min(np.linalg.norm(n.vector) for mine in around for n in mine) > 1.0 / float(model.module.descriptor.s_max))
    got, (force, virial) = predict(model, atoms, compiled=compiled), oracles.forces_and_virial(p, types, around)
    np.testing.assert_allclose(got.energies, oracles.atomic_energies(p, types, around), rtol=0, atol=1e-9)
    np.testing.assert_allclose(got.forces, force, rtol=0, atol=1e-8)
    np.testing.assert_allclose(got.virials.sum(0), virial, rtol=0, atol=1e-8 * len(atoms))


# Around the range of the series ---------------------------------------------------------------------------------------

@both_engines
def test_energy_and_forces_go_on_together_below_the_reach(compiled):
    """At half the distance down to which the series is made, where its polynomials are straight lines in s."""
    predict, atoms = predictor(random_model(), compiled=compiled), random_atoms(4, pbc=False)
    atoms.positions[1] = atoms.positions[0] + [0.3, 0.1, -0.2]
    got = predict(atoms).forces
    assert abs(got).max() > 0.1
    expected = -oracles.central_difference(energy_at(predict, atoms), atoms.positions, step=1e-5)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6 * abs(got).max())


@both_engines
def test_energy_and_forces_are_continuous_at_the_reach(compiled):
    model, atoms = random_model(), random_atoms(4, pbc=False)
    predict, reach = predictor(model, compiled=compiled), 1.0 / float(model.module.descriptor.s_max)
    around = []
    for r in (reach - 1e-9, reach + 1e-9):
        atoms.positions[1] = atoms.positions[0] + [0.0, 0.6 * r, 0.8 * r]
        around.append(predict(atoms))
    np.testing.assert_allclose(around[0].energies, around[1].energies, rtol=0, atol=1e-6)
    np.testing.assert_allclose(around[0].forces, around[1].forces, rtol=0, atol=1e-4)


def test_pairs_beyond_the_cutoff_contribute_nothing():
    model, atoms = random_model(), random_atoms(6)
    results = []
    for cutoff in (model.card.rcut, model.card.rcut + 2.0):
        pairs = neighbor_pairs(atoms.positions, atoms.cell[:], atoms.pbc, cutoff)
        energies, gradient = fold(model.module)(*arguments(model, atoms, pairs))
        near = np.linalg.norm(pairs.vectors, axis=1) < model.card.rcut
        np.testing.assert_array_equal(gradient[~near], 0.0)
        results.append((energies, gradient[near]))
    assert (~near).sum() > 100
    for got, expected in zip(*results, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


def arguments(model, atoms, pairs=None):
    pairs, types = pairs or pairs_in(model, atoms), types_in(model, atoms)
    return tuple(map(torch.from_numpy, (types, pairs.i, types[pairs.j], pairs.vectors)))


# The folded module ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("precision", SAME)
@pytest.mark.parametrize("shape", ["three species", "nets by pair of species", "no hidden layer", "and a shortcut",
                                   "a bispectrum"])
def test_scripted_equals_eager(shape, precision):
    model = random_model(precision=precision, **SHAPES[shape])
    folded, given = fold(model.module), arguments(model, random_atoms(8, model.card.type_map))
    scripted, expected = script(folded), folded(*given)
    for _ in range(3):  # the first calls profile, later ones run optimised code
        torch.testing.assert_close(scripted(*given), expected, rtol=1e-5, atol=SAME[precision][0])


def test_needs_no_gradients_and_shares_nothing_with_the_trained_model():
    model, atoms = random_model(), random_atoms(5)
    before, expected = copy.deepcopy(model.module.state_dict()), predict(model, atoms, eager=True)
    folded = fold(model.module.train())
    assert model.module.training
    assert all(torch.equal(value, before[key]) for key, value in model.module.state_dict().items())
    assert not folded.training
    assert list(folded.parameters()) == []
    with torch.no_grad():
        for value in (*model.module.parameters(), *model.module.buffers()):
            value.zero_()
    energies, gradient = folded(*arguments(model, atoms))
    assert not energies.requires_grad
    assert not gradient.requires_grad
    np.testing.assert_allclose(energies, expected.energies, rtol=0, atol=1e-9)


def test_unsorted_pairs_are_refused():
    folded, i = fold(random_model().module), torch.tensor([1, 0])
    types, vectors = torch.zeros(2, dtype=torch.int64), torch.ones(2, 3, dtype=torch.float64)
    for module, error in ((folded, ValueError), (script(folded), torch.jit.Error)):
        with pytest.raises(error, match="expected pairs in ascending order of their centre"):
            module(types, i, types, vectors)


# What is left out, and what is said of it -----------------------------------------------------------------------------

@pytest.mark.parametrize(("order", "terms"), [(2, 4), (3, 4), (4, 4), (5, 8), (9, 12)])
def test_short_series_are_filled_up_to_a_multiple(order, terms):
    assert MULTIPLE == 4
    assert fold(random_model(order=order).module).bases[0][0] == terms


@pytest.mark.parametrize("precision", SAME)
def test_terms_that_weigh_nothing_are_left_out(precision):
    """As many as are needed, whatever the order of the series was."""
    long, longer = (fold(random_model(order=order, precision=precision).module).bases[0][0] for order in (160, 240))
    assert long == longer < 160
    assert long % MULTIPLE == 0


def test_directions_that_repeat_others_are_left_out():
    model = random_model()  # 8 outputs, and a shortcut whose two halves are equal
    last = model.module.descriptor.embedding.layers[-1]
    with torch.no_grad():
        last.weight[:, :, 4:], last.bias[:, 4:] = last.weight[:, :, :4], last.bias[:, :4]
    folded = fold(model.module)
    assert [len(species.parts[0].constant) for species in folded.species] == [4, 4]
    assert_same(model, random_atoms(8), compiled=False)
    assert describe_series(model.module, folded)["directions"] == [4, 4]


@pytest.mark.parametrize("one_side", [True, False])
@pytest.mark.parametrize("precision", SAME)
def test_description_of_the_series(one_side, precision):
    """The error against NumPy's interpolation of the oracle's nets, on a finer grid."""
    order = 8
    model = random_model(order=order, type_one_side=one_side, precision=precision)
    folded, p = fold(model.module), oracles.parameters_of(model)
    said = describe_series(model.module, folded)
    assert said["order"] == order
    assert said["terms"] == folded.bases[0][0]
    assert said["directions"] == [8, 8]
    assert said["reach"] == pytest.approx(0.8)
    s_max, difference, largest = 1 / 0.8, 0.0, 0.0
    x = np.linspace(-1, 1, 9001)[1:]
    for centre in range(2):
        (width, turn), s0 = p.dstd[centre], -p.davg[centre] / p.dstd[centre, 0]
        for neighbor in range(2):
            net = p.embedding[neighbor if one_side else 2 * centre + neighbor]
            empty = oracles.net_output(net, np.array([s0]), "tanh")

            def curves(x, net=net, width=width, turn=turn, s0=s0, empty=empty):
                s = s_max * (x + 1) / 2
                g = oracles.net_output(net, (s / width + s0)[:, None], "tanh")
                return np.concatenate([g / width + (g - empty) * s0 / s[:, None], g / turn], axis=1)

            exact = curves(x)
            series = chebyshev.chebval(x, chebyshev.chebinterpolate(curves, order - 1)).T
            difference, largest = max(difference, abs(series - exact).max()), max(largest, abs(exact).max())
    assert said["error"] > 1e-3
    assert said["error"] == pytest.approx(difference / largest, rel=0.02)


def test_a_series_that_has_converged_is_said_to_be_exact():
    model = random_model()
    assert describe_series(model.module, fold(model.module))["error"] < 1e-12


def test_a_model_without_weights_folds():
    """Nothing is significant, and nothing comes out but the biases."""
    model = random_model()
    with torch.no_grad():
        for parameter in model.module.descriptor.parameters():
            parameter.zero_()
    assert_same(model, random_atoms(5), compiled=False)
    assert abs(predict(model, random_atoms(5)).forces).max() == 0.0
