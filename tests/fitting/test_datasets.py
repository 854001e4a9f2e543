"""Batches, the order of frames, the share set aside."""

import builders
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import given
from hypothesis import strategies as st

from ase_deeppot.errors import StructureError
from ase_deeppot.fitting.datasets import Dataset, Sampler, batch_size_for, split
from ase_deeppot.fitting.loss import Prefactors, loss
from ase_deeppot.fitting.sources import read_frames


def labelled(atoms, seed=0):
    rng = np.random.default_rng(seed)
    atoms.calc = SinglePointCalculator(atoms, energy=float(rng.normal()), forces=rng.normal(size=(len(atoms), 3)))
    return atoms


@pytest.fixture(scope="module")
def mixed():
    """Frames of other sizes, cells, periodicities and compositions, one of them an atom alone."""
    return [labelled(builders.random_atoms(n, symbols, seed=n, pbc=pbc), n) for n, symbols, pbc in (
        (5, ("H", "O"), True), (1, ("H",), False), (9, ("O",), (True, False, True)), (2, ("H",), True),
        (7, ("H", "O"), False))]


def results(model, batch):
    energies, k = model.module.respond(batch.structures.types, batch.environment.features)
    force, virial = model.module.descriptor.geometry().forces_and_virials(batch.structures, batch.environment, k)
    zero = torch.zeros(len(batch.sizes), dtype=torch.float64)
    totals = zero.index_add(0, batch.frame, energies), zero[:, None, None].expand(-1, 3, 3).contiguous().index_add(
        0, batch.frame, virial)
    return totals[0].detach().numpy(), force.detach().numpy(), totals[1].detach().numpy()


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.sampled_from([0.0, 1e-6, 2.0]))
def test_a_batch_is_its_frames_one_by_one(mixed, indices, memory):
    model = builders.random_model()
    frames, _ = read_frames(mixed)
    dataset = Dataset(frames, ("H", "O"), model.card.rcut, memory)
    batch = dataset.batch(np.array(indices), model.module.descriptor.geometry())
    energies, force, virial = results(model, batch)
    alone = [builders.predict(model, mixed[k], eager=True) for k in indices]
    np.testing.assert_allclose(energies, [one.energies.sum() for one in alone], rtol=1e-12)
    np.testing.assert_allclose(force, np.concatenate([one.forces for one in alone]), atol=1e-12)
    np.testing.assert_allclose(virial, [one.virials.sum(0) for one in alone], atol=1e-11)
    assert batch.sizes.tolist() == [len(mixed[k]) for k in indices]
    np.testing.assert_array_equal(batch.energies, [mixed[k].calc.results["energy"] for k in indices])
    np.testing.assert_array_equal(batch.forces, np.concatenate([mixed[k].calc.results["forces"] for k in indices]))
    assert bool(batch.virials.isnan().all())
    assert bool((batch.structures.i[1:] >= batch.structures.i[:-1]).all())


def test_only_atoms_alone_make_a_batch_that_can_be_trained_on(mixed):
    dataset = Dataset(read_frames(mixed[1])[0], ("H", "O"), 4.0)
    model = builders.random_model()
    batch = dataset.batch(np.array([0, 0]), model.module.descriptor.geometry())
    value, _ = loss(model.module, batch, Prefactors(1.0, 1.0, 1.0))
    torch.autograd.backward(value)
    assert all(bool(w.grad.isfinite().all()) for w in model.module.parameters() if w.grad is not None)


def test_neighbour_lists_are_kept_within_the_budget(mixed):
    frames, _ = read_frames(mixed)
    sizes = [sum(array.nbytes for array in Dataset(frames, ("H", "O"), 4.0).pairs(k)) for k in range(5)]
    dataset = Dataset(frames, ("H", "O"), 4.0, memory=(sizes[0] + sizes[3]) / 1e9)
    assert [dataset.pairs(k) is dataset.pairs(k) for k in (0, 2, 3, 4)] == [True, False, True, False]
    endless = Dataset(frames, ("H", "O"), 4.0, memory=float("inf"))
    assert all(endless.pairs(k) is endless.pairs(k) for k in range(5))


def test_environments_are_kept_within_what_the_neighbour_lists_leave(mixed):
    frames, geometry = read_frames(mixed)[0], builders.random_model().module.descriptor.geometry()
    whole = Dataset(frames, ("H", "O"), 4.0, float("inf"))
    features = [whole.environment(k, geometry).features for k in range(5)]
    sizes = [sum(array.nbytes for array in whole.pairs(k)) + features[k].nbytes for k in range(5)]
    dataset = Dataset(frames, ("H", "O"), 4.0, memory=(sizes[0] + sizes[3]) / 1e9)
    kept = [dataset.environment(k, geometry) is dataset.environment(k, geometry) for k in (0, 3, 2)]
    assert kept == [True, True, False]
    for k in range(5):
        np.testing.assert_array_equal(dataset.environment(k, geometry).features, features[k])


def test_other_radial_functions_have_moments_of_their_own(mixed):
    dataset = Dataset(read_frames(mixed)[0], ("H", "O"), 4.0)
    one, other = (builders.random_model(order=order).module.descriptor.geometry() for order in (8, 12))
    assert dataset.environment(0, one).features.shape[3] == 8
    assert dataset.environment(0, other).features.shape[3] == 12
    assert dataset.environment(0, one).features.shape[3] == 8


def test_an_element_that_the_model_lacks_is_named_with_its_frame(tmp_path):
    images = [labelled(Atoms(symbols, np.eye(3)[: len(symbols)] * 3)) for symbols in (["H"], ["H", "O"], ["O", "N"])]
    frames, _ = read_frames([images[0], images[1], images[2]])
    with pytest.raises(StructureError) as caught:
        Dataset(frames, ("O", "H"), 4.0)
    assert str(caught.value) == "Atoms in memory frame 2: expected elements of the model (O, H), got N"


@given(st.integers(1, 40), st.integers(1, 45), st.integers(0, 10), st.integers(0, 3))
def test_every_epoch_sees_each_frame_once(n_frames, batch_size, seed, epoch):
    sampler = Sampler(n_frames, batch_size, seed)
    steps = -(-n_frames // batch_size)
    seen = [sampler.indices(epoch * steps + step) for step in range(steps)]
    assert sorted(np.concatenate(seen)) == list(range(n_frames))
    assert all(0 < len(part) <= batch_size for part in seen)
    np.testing.assert_array_equal(seen[-1], Sampler(n_frames, batch_size, seed).indices(epoch * steps + steps - 1))


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {tuple(Sampler(30, 30, seed).indices(step)) for seed in range(3) for step in range(3)}
    assert len(orders) == 9


@pytest.fixture(scope="module")
def twenty():
    images = [labelled(builders.random_atoms(3, seed=k), k) for k in range(20)]
    return read_frames(images)[0]


@given(st.floats(0, 0.99), st.integers(0, 5))
def test_the_split_shares_out_every_frame(twenty, fraction, seed):
    train, held_out = split(twenty, fraction, seed)
    assert sorted([*train.origin, *held_out.origin]) == list(range(20))
    assert held_out.count == (0 if fraction == 0 else min(19, max(1, round(20 * fraction))))
    again = split(twenty, fraction, seed)
    np.testing.assert_array_equal(again[1].energies, held_out.energies)
    assert list(train.origin) == sorted(train.origin)


def test_other_seeds_split_otherwise(twenty):
    assert len({tuple(split(twenty, 0.3, seed)[1].origin) for seed in range(5)}) == 5


def test_isolated_atoms_are_all_trained_on():
    images = [labelled(Atoms(symbol, [[0, 0, 0]])) for symbol in ("H", "O")] + [
        labelled(builders.random_atoms(3, seed=k), k) for k in range(3)]
    for seed in range(5):
        train, held_out = split(read_frames(images)[0], 0.9, seed)
        assert set(train.origin) >= {0, 1}
        assert held_out.count == 2
    train, held_out = split(read_frames(images[:2])[0], 0.5, 0)
    assert (train.count, held_out.count) == (2, 0)


def test_crystals_with_one_atom_a_cell_are_set_aside_as_others():
    images = [labelled(Atoms("H", cell=(2 + 0.1 * k) * np.eye(3), pbc=True), k) for k in range(10)]
    train, held_out = split(read_frames(images)[0], 0.3, 0)
    assert (train.count, held_out.count) == (7, 3)


def test_frames_a_step(mixed):
    frames, _ = read_frames(mixed)  # 24 atoms in 5 frames
    assert [batch_size_for(frames, 0, atoms) for atoms in (1, 9, 10, 14, 1000)] == [1, 2, 2, 3, 5]
    assert [batch_size_for(frames, size, 100) for size in (1, 4, 5, 9)] == [1, 4, 5, 5]
