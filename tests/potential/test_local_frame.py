"""The DPMD model: against the oracle, finite differences, its symmetries and its jumps; trained, folded, scripted."""

import itertools

import numpy as np
import oracles
import pytest
import torch
from ase import Atoms
from builders import pairs_in, predict, predictor, random_atoms, random_model, random_pairs, types_in
from hypothesis import given
from hypothesis import strategies as st

from ase_deeppot.errors import ConfigError
from ase_deeppot.neighbors import Pairs
from ase_deeppot.potential.archive import script
from ase_deeppot.potential.config import LocalFrameConfig, ModelConfig
from ase_deeppot.potential.deep_potential import DeepPotential
from ase_deeppot.potential.descriptor import Structures
from ase_deeppot.potential.folding import fold
from ase_deeppot.potential.in_torch import TorchEngine

RULE = {"O": (("H", 0), ("H", 1)), "H": (("O", 0), ("H", 0))}
every_way = pytest.mark.parametrize("way", [{"eager": True}, {}], ids=["trained", "folded"])


def local_model(*arguments, **options):
    plain = {"fitting_resnet_dt": False, "fitting_shortcut": False}
    return random_model(*arguments, kind="local_frame", **(plain | options))


def expected(model, atoms):
    """Atomic energies, forces and virial of the oracle."""
    p, types = oracles.local_frame_of(model), types_in(model, atoms)
    around = oracles.neighbors(atoms.positions, atoms.cell[:], atoms.pbc, model.card.rcut)
    return oracles.local_frame_energies(p, types, around), *oracles.forces_and_virial(p, types, around)


def check(model, atoms, **way):
    got, (energies, forces, virial) = predict(model, atoms, **way), expected(model, atoms)
    np.testing.assert_allclose(got.energies, energies, rtol=1e-12)
    for value, definition in ((got.forces, forces), (got.virials.sum(0), virial)):
        largest = max(1.0, abs(definition).max(initial=0.0))
        np.testing.assert_allclose(value, definition, rtol=0, atol=1e-12 * largest)


rules = st.sampled_from([{}, RULE, {"O": RULE["O"]}, {"H": (("H", 2), ("O", 1))}])


@every_way
@given(n=st.integers(0, 7), seed=st.integers(0, 1000), fitting=st.lists(st.integers(1, 6), max_size=3), rule=rules,
       pbc=st.tuples(*[st.booleans()] * 3), sel=st.lists(st.integers(0, 5), min_size=4, max_size=4),
       activation=st.sampled_from(["tanh", "silu"]), shortcut=st.booleans())
def test_is_the_definition(way, n, seed, fitting, rule, pbc, sel, activation, shortcut):
    """Energies, forces and virials, with slots too few and too many, with and without rules for the axes."""
    slots = {"sel_a": {"H": sel[0], "O": sel[1]}, "sel_r": {"H": sel[2], "O": 1 + sel[3]}}
    model = local_model(seed=seed, rcut=3.0, fitting_neuron=fitting, fitting_activation=activation, axis_rule=rule,
                        fitting_shortcut=shortcut, fitting_resnet_dt=shortcut, **slots)
    check(model, random_atoms(n, seed=seed, pbc=pbc), **way)


@every_way
def test_three_species(way):
    symbols = ("H", "O", "Cu")
    model = local_model(symbols, rcut=4.0, axis_rule={"Cu": (("O", 0), ("H", 1))})
    check(model, random_atoms(9, symbols, seed=3), **way)


@every_way
@pytest.mark.parametrize("atoms", [
    Atoms("O"), Atoms("OH", [[0, 0, 0], [0.6, -0.5, 0.7]]), Atoms("HH", [[0, 0, 0], [0, 0, 1.1]]),
    Atoms("HOH", [[-1, 0, 0], [0, 0, 0], [1, 0, 0]]), Atoms("HOHO", [[-1, -1, 0], [0, 0, 0], [1, 1, 0.05], [2, 2, 0]]),
    Atoms("OHHO", [[0, 0, 0], [1, 0, 0], [-1.1, 0.01, 0], [0.1, 2.0, 0]])],
    ids=["alone", "pair", "pair along z", "line", "nearly a line", "second neighbour on the line"])
def test_no_frame_or_another_one(way, atoms):
    check(local_model(), atoms, **way)


@every_way
def test_an_atom_alone_has_a_descriptor_of_zeros(way):
    model = local_model()
    d = model.module.descriptor
    x = (-d.davg[1] / d.dstd[1]).numpy()
    *hidden, output = oracles.local_frame_of(model).fitting[1]
    for layer in hidden:
        x = oracles.plain_output(layer, x, "tanh")
    energy = (x @ output.weight + output.bias)[0] + float(model.module.fitting_net.energy_bias[1])
    alone = predict(model, Atoms("O"), **way)
    assert alone.energies[0] == pytest.approx(energy, rel=1e-12)
    np.testing.assert_array_equal(alone.forces, 0.0)


def test_one_neighbour_gives_distance_and_x():
    pair = Atoms("OH", [[0, 0, 0], [0.6, -0.5, 0.7]])
    geometry = local_model(sel_a={"H": 1, "O": 1}, sel_r={"H": 0, "O": 0}).module.descriptor.geometry()
    d = environment_of(geometry, pair).features
    r = pair.get_distance(0, 1)
    np.testing.assert_allclose(d, [[1 / r, 1 / r, *[0.0] * 6], [*[0.0] * 4, 1 / r, 1 / r, 0.0, 0.0]], atol=1e-15)


def environment_of(geometry, atoms):
    return geometry.environment(structures_of(atoms, geometry.rcut))


def structures_of(atoms, rcut):
    model = local_model(rcut=rcut)
    pairs = pairs_in(model, atoms)
    return Structures(*map(torch.from_numpy, (types_in(model, atoms), pairs.i, pairs.j, pairs.vectors)))


class TestSlots:
    atoms = Atoms("OHHHOO", [[0, 0, 0], [1, 0, 0], [0, 1.5, 0], [0, 0, 2], [1, 1, 1], [-2, -2, 0.5]])

    def order(self, **options):
        """Of the first atom: its neighbours in the slots, and its axis atoms; -1 for none."""
        geometry = local_model(**options).module.descriptor.geometry()
        pairs = structures_of(self.atoms, 4.0)
        own = pairs.j[pairs.i == 0].tolist()
        return [own[k] if k >= 0 else -1 for k in environment_of(geometry, self.atoms).order[0].tolist()]

    def test_sorted_by_species_then_by_distance(self):
        got = self.order(sel_a={"H": 2, "O": 1}, sel_r={"H": 2, "O": 2})
        assert got == [1, 2, 4, 3, -1, 5, -1, 1, 2]

    def test_rule(self):
        got = self.order(sel_a={"H": 0, "O": 0}, sel_r={"H": 1, "O": 0}, axis_rule={"O": (("O", 0), ("H", 2))})
        assert got == [1, 4, 3]

    def test_rule_for_more_than_there_are_takes_the_nearest_of_the_others(self):
        got = self.order(sel_a={"H": 0, "O": 0}, sel_r={"H": 1, "O": 0}, axis_rule={"O": (("O", 7), ("O", 1))})
        assert got == [1, 1, 5]

    def test_the_farthest_are_left_out_and_counted(self):
        geometry = local_model(sel_a={"H": 1, "O": 0}, sel_r={"H": 1, "O": 1}).module.descriptor.geometry()
        types, i, j, vectors = (part.numpy() for part in structures_of(self.atoms, 4.0))
        missing = 0
        for centre, t in itertools.product(range(6), range(2)):
            missing += max(0, int((types[j[i == centre]] == t).sum()) - (2, 1)[t])
        assert geometry.left_out(types, Pairs(i, j, vectors, i, j)) == missing > 0


@every_way
class TestInvariance:
    """Energies stay, forces turn with the structure. Tolerance: rounding of sums in another order."""

    model = local_model(seed=3, axis_rule=RULE)
    atoms = random_atoms(8, seed=5)

    def compare(self, way, changed, order=slice(None), turn=None):
        turn = np.eye(3) if turn is None else turn
        before, after = map(predictor(self.model, **way), (self.atoms, changed))
        np.testing.assert_allclose(after.energies, before.energies[order], rtol=1e-12)
        np.testing.assert_allclose(after.forces, before.forces[order] @ turn.T, atol=1e-11)
        np.testing.assert_allclose(after.virials.sum(0), turn @ before.virials.sum(0) @ turn.T, atol=1e-10)

    def turned(self, turn):
        atoms = self.atoms.copy()
        atoms.set_cell(atoms.cell[:] @ turn.T)
        atoms.positions = self.atoms.positions @ turn.T
        return atoms

    def rotation(self, seed):
        q = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
        return q * np.linalg.det(q)

    def test_translation_and_wrapping(self, way):
        moved = self.atoms.copy()
        moved.positions += [3.7, -20.1, 8.3]
        self.compare(way, moved)
        moved.wrap()
        self.compare(way, moved)

    def test_rotation(self, way):
        for seed in range(3):
            turn = self.rotation(seed)
            self.compare(way, self.turned(turn), turn=turn)

    def test_a_mirror_image_is_another_structure(self, way):
        """The frame is right-handed in both: the model does not know reflections, unlike DeepPot-SE."""
        before, after = map(predictor(self.model, **way), (self.atoms, self.turned(-np.eye(3))))
        assert abs(after.energies - before.energies).max() > 1e-3

    def test_permutation(self, way):
        order = np.random.default_rng(0).permutation(len(self.atoms))
        self.compare(way, self.atoms[order], order=order)

    def test_supercell(self, way):
        before, after = map(predictor(self.model, **way), (self.atoms, self.atoms * (2, 1, 2)))
        order = np.tile(np.arange(len(self.atoms)), 4)
        np.testing.assert_allclose(after.energies, before.energies[order], rtol=1e-12)
        np.testing.assert_allclose(after.forces, before.forces[order], atol=1e-11)

    def test_sum_rules(self, way):
        prediction = predict(self.model, self.atoms, **way)
        np.testing.assert_allclose(prediction.forces.sum(0), 0.0, atol=1e-12)
        total = prediction.virials.sum(0)
        np.testing.assert_allclose(total, total.T, atol=1e-11)


@pytest.mark.parametrize("seed", range(3))
def test_forces_and_virial_are_derivatives_away_from_jumps(seed):
    model, atoms = local_model(seed=seed, rcut=3.5), random_atoms(7, seed=seed)
    run = predictor(model)

    def energy(positions, strain=0.0):
        moved = Atoms(atoms.symbols, positions, cell=atoms.cell, pbc=atoms.pbc)
        moved.set_cell(atoms.cell[:] @ (np.eye(3) + strain), scale_atoms=True)
        return run(moved).energies.sum()

    got = run(atoms)
    forces = -oracles.central_difference(energy, atoms.positions, 1e-5)
    np.testing.assert_allclose(got.forces, forces, rtol=1e-6, atol=1e-7)
    virial = -oracles.central_difference(lambda strain: energy(atoms.positions, strain), np.zeros((3, 3)), 1e-5)
    np.testing.assert_allclose(got.virials.sum(0), virial, rtol=1e-6, atol=1e-6)


@every_way
def test_energy_jumps_at_the_cutoff_and_only_there(way):
    run = predictor(local_model(rcut=4.0), **way)

    def energy(r):
        return run(Atoms("OHH", [[0, 0, 0], [-1.2, 0.3, 0], [0.96 * r, 0.28 * r, 0]])).energies.sum()

    def change(r, h):
        return abs(energy(r + h) - energy(r - h))

    assert change(3.9, 1e-9) < 1e-7
    assert change(4.1, 1e-9) < 1e-7
    assert change(4.0, 1e-9) > 1e-3


@every_way
def test_float32_nets_agree_to_their_precision(way):
    double, single, atoms = local_model(), local_model(precision="float32"), random_atoms(8)
    single.module.load_state_dict(double.module.state_dict())
    exact, rounded = predict(double, atoms, **way), predict(single, atoms, **way)
    assert all(array.dtype == np.float64 for array in rounded)
    assert 0 < abs(rounded.energies - exact.energies).max() < 1e-4
    assert 0 < abs(rounded.forces - exact.forces).max() < 1e-4


@given(counts=st.lists(st.integers(0, 6), max_size=6), seed=st.integers(0, 100), rule=rules)
def test_scripted_is_the_same_for_pairs_of_any_kind(counts, seed, rule):
    """Also with pairs beyond the cutoff, which count for nothing."""
    model = local_model(rcut=3.5, axis_rule=rule)
    pairs = random_pairs(counts, seed=seed)
    given = tuple(map(torch.from_numpy, (pairs.types, pairs.i, pairs.types_j, pairs.vectors)))
    near = np.linalg.norm(pairs.vectors, axis=1) < 3.5
    energies, gradient = model.module(*given)
    scripted = SCRIPTED.setdefault(repr(rule), script(fold(model.module)))(*given)
    torch.testing.assert_close(scripted, (energies.detach(), gradient.detach()), rtol=1e-10, atol=1e-11)
    assert not gradient[~torch.from_numpy(near)].any()
    fewer = model.module(given[0], *(part[torch.from_numpy(near)] for part in given[1:]))
    torch.testing.assert_close(fewer[0], energies, rtol=1e-12, atol=0)


SCRIPTED = {}  # by rule; the weights are always the same


def test_chunks_of_atoms_make_no_difference():
    model, atoms = local_model(), random_atoms(12, seed=2)
    types, pairs = types_in(model, atoms), pairs_in(model, atoms)
    whole, parts = (TorchEngine(fold(model.module), torch.device("cpu"), n).evaluate(types, pairs) for n in (10**6, 40))
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", [{}, RULE], ids=["nearest", "rule"])
@pytest.mark.parametrize("neuron", [(6,), (9, 5), ()], ids=str)
def test_training_gradient_is_that_of_automatic_differentiation(rule, neuron):
    """Of a value made of energies, forces and virials, by every weight, against torch through the definition."""
    model, atoms = local_model(axis_rule=rule, fitting_neuron=neuron), random_atoms(6, seed=1)
    module, structures = model.module, structures_of(atoms, model.card.rcut)
    rng = np.random.default_rng(0)
    e_bar, f_bar, v_bar = (torch.from_numpy(rng.normal(size=shape)) for shape in ((6,), (6, 3), (6, 3, 3)))

    def value(energies, forces, virials):
        return (e_bar * energies).sum() + (f_bar * forces).sum() + (v_bar * virials).sum()

    environment = module.descriptor.geometry().environment(structures)
    energies, k = module.respond(structures.types, environment.features)
    parts = module.descriptor.geometry().forces_and_virials(structures, environment, k)
    got = torch.autograd.grad(value(energies, *parts), list(module.parameters()), allow_unused=True)
    expected = torch.autograd.grad(value(*by_torch(module, structures, environment.order)), list(module.parameters()),
                                   allow_unused=True)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one if one is not None else torch.zeros_like(other), other, rtol=1e-9, atol=1e-10)


def by_torch(module, structures, order):
    """Energies, forces and virials with every derivative taken by torch, for neighbours in a known order."""
    from ase_deeppot.potential.frames import describe, frames

    types, i, j, vectors = structures
    geometry = module.descriptor.geometry()
    v = vectors.clone().requires_grad_(True)
    d = describe(frames(order, sum(geometry.sel_a), i, v))
    energies = torch.zeros(len(types), dtype=torch.float64)
    for t, net in enumerate(module.fitting_net.nets):
        mine = torch.nonzero(types == t)[:, 0]
        own = net(module.descriptor.normalised(t, d[mine]))[:, 0] + module.fitting_net.energy_bias[t]
        energies = energies.index_add(0, mine, own)
    g = torch.autograd.grad(energies.sum(), v, create_graph=True)[0]
    zero = torch.zeros(len(types), 3, dtype=torch.float64)
    forces = zero.index_add(0, i, g).index_add(0, j, -g)
    pairs = -(vectors[:, :, None] * g[:, None, :])
    return energies, forces, torch.zeros(len(types), 3, 3, dtype=torch.float64).index_add(0, j, pairs)


def test_slots_must_be_known_to_make_a_model():
    with pytest.raises(ConfigError, match=r"expected descriptor.sel_a with an entry for each of H, O, got \{\}"):
        DeepPotential(ModelConfig(("H", "O"), descriptor=LocalFrameConfig()))
