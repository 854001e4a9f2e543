"""The Kalman filter against the equations in NumPy, what it takes for an error, and runs with it."""

import builders
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from trained import curve, equal, interrupt_at

from ase_deeppot.fitting import kalman, learning_curve
from ase_deeppot.fitting.config import LossConfig
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.fit import preview
from ase_deeppot.fitting.kalman import BLOCK, FIRST_LAMBDA, FORCE_PARTS, RISE, KalmanFilter, KalmanSteps, block_sizes
from ase_deeppot.fitting.loss import Prefactors, deviations
from ase_deeppot.fitting.processes import Processes
from ase_deeppot.fitting.sources import read_frames
from ase_deeppot.fitting.trainer import TrainingError

KALMAN = {"optimizer": "kalman"}


# Blocks ---------------------------------------------------------------------------------------------------------------

@given(st.lists(st.integers(1, 3 * BLOCK), min_size=1, max_size=8))
def test_blocks_hold_all_weights_and_none_too_many(sizes):
    blocks = block_sizes(sizes)
    assert sum(blocks) == sum(sizes)
    assert 0 < min(blocks) <= max(blocks) <= BLOCK


@pytest.mark.parametrize(("sizes", "blocks"), [
    ([3, 4], [7]), ([BLOCK], [BLOCK]), ([BLOCK - 1, 2], [BLOCK - 1, 2]), ([2 * BLOCK + 5, 7], [BLOCK, BLOCK, 12]),
])
def test_small_tensors_share_a_block(sizes, blocks):
    assert block_sizes(sizes) == blocks


# Updates --------------------------------------------------------------------------------------------------------------

def test_updates_are_those_of_the_equations(monkeypatch):
    """Dense matrices, with zeros outside the blocks."""
    monkeypatch.setattr(kalman, "BLOCK", 4)
    rng = np.random.default_rng(0)
    parameters = [nn.Parameter(torch.from_numpy(rng.normal(size=shape))) for shape in ((2, 3), (2,), (1,))]
    one = KalmanFilter(parameters)
    assert one.sizes == [4, 4, 1]
    w = np.concatenate([parameter.detach().numpy().ravel() for parameter in parameters])
    inside = np.kron(np.eye(3), np.ones((4, 4)))[:9, :9]
    p, forgetting = np.eye(9), FIRST_LAMBDA
    for error in (0.7, 2.0, 0.1):
        g = rng.normal(size=9)
        for parameter, part in zip(parameters, np.split(g, [6, 8]), strict=True):
            parameter.grad = torch.from_numpy(part.reshape(parameter.shape))
        one.update(error)
        gain, scale = p @ g, 1 / (3 * forgetting + g @ p @ g)
        w = w - scale * error * gain
        p = inside * (p - scale * np.outer(gain, gain)) / forgetting
        forgetting = RISE * forgetting + 1 - RISE
        got = np.concatenate([parameter.detach().numpy().ravel() for parameter in parameters])
        np.testing.assert_allclose(got, w, rtol=1e-12)
        np.testing.assert_allclose(torch.block_diag(*one.covariances) / one.forgotten, p, rtol=1e-12, atol=1e-14)
        assert one.forgetting == pytest.approx(forgetting, rel=1e-14)


def test_a_weight_without_gradient_stays():
    moved, still = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    moved.grad = torch.ones(2)
    KalmanFilter([moved, still]).update(1.0)
    assert (moved < 1.0).all()
    assert (still == 1.0).all()


# Errors ---------------------------------------------------------------------------------------------------------------

@pytest.fixture
def copper_gold(alloys):
    """A model, and frames some of which lack labels."""
    model = builders.random_model(("Cu", "Au"), neuron=(3, 6), axis_neuron=2, fitting_neuron=(5, 5)).module
    images = alloys(7, seed=2, properties=(("energy",), ("energy", "forces"), ("forces", "stress")))
    return model, Dataset(read_frames(images)[0], ("Cu", "Au"), 4.0)


def batch_of(copper_gold, share, whole):
    model, dataset = copper_gold
    return dataset.batch(np.array(share), model.descriptor.geometry(), of=np.array(whole))


def test_force_parts_are_all_atoms_once(copper_gold):
    batch = batch_of(copper_gold, [1, 2], [1, 2])
    parts = kalman._parts(batch, (1, 5))
    sizes = batch.sizes.int().tolist()
    for frame in np.split(parts, np.cumsum(sizes)[:-1]):
        counts = np.bincount(frame, minlength=FORCE_PARTS)
        assert counts.sum() == len(frame)
        assert np.ptp(counts) <= 1
    assert not np.array_equal(parts, kalman._parts(batch, (1, 6)))


def test_errors_are_mean_absolute_errors(copper_gold):
    batch = batch_of(copper_gold, [0, 1, 2, 4], [0, 1, 2, 4])
    with torch.no_grad():
        found = deviations(copper_gold[0], batch)
    labelled = batch.energies.isfinite()
    assert 0 < labelled.sum() < 4
    assert float(kalman._energy_error(found, batch)) == pytest.approx(float(found.energy[labelled].abs().mean()))
    parts = [float(kalman._force_error(found, batch, (1, 0), part)) for part in range(FORCE_PARTS)]
    frames = [frame for frame in range(4) if bool(batch.forces[batch.frame == frame].isfinite().all())]
    expected = np.mean([float(found.force[batch.frame == frame].abs().mean()) for frame in frames])
    assert np.mean(parts) == pytest.approx(expected)
    stressed = batch.virials.isfinite().all(2).all(1)
    assert float(kalman._virial_error(found, batch)) == pytest.approx(float(found.virial[stressed].abs().mean()))


def test_shares_add_up_to_the_batch(copper_gold):
    """Errors and gradients of each update, whoever has which frames."""
    model = copper_gold[0]
    whole = [5, 0, 3, 6, 1]
    for error_of in KalmanSteps(model, LossConfig(), 1, Processes())._errors(3, batch_of(copper_gold, whole, whole)):
        def gradient(share, error_of=error_of):
            model.zero_grad()
            batch = batch_of(copper_gold, share, whole)
            value = error_of(deviations(model, batch), batch)
            torch.autograd.backward(value)
            gradients = [weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]
            return torch.cat([value.detach().reshape(1), *gradients])
        torch.testing.assert_close(gradient([5, 3]) + gradient([0, 6, 1]), gradient(whole), rtol=1e-11, atol=1e-12)


def test_labels_that_are_missing_make_no_updates(copper_gold):
    steps = KalmanSteps(copper_gold[0], LossConfig(), 1, Processes())
    energies_only = [k for k in range(7) if k % 3 == 0]
    assert len(steps._errors(0, batch_of(copper_gold, energies_only, energies_only))) == 1
    assert len(steps._errors(0, batch_of(copper_gold, range(7), range(7)))) == 2 + FORCE_PARTS
    assert steps._errors(0, None) == []


@pytest.mark.parametrize(("limits", "expected"), [
    ((400.0, 1.0, 100.0), (20.0, 1.0, 10.0)), ((0.0, 4.0, 1.0), (0.0, 1.0, 0.5)), ((9.0, 0.0, 1.0), (1.0, 0.0, 1 / 3)),
    ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
])
def test_the_last_prefactors_weigh_the_errors(copper_gold, limits, expected):
    config = LossConfig(**dict(zip(("limit_pref_e", "limit_pref_f", "limit_pref_v"), limits, strict=True)))
    assert kalman.scales(config) == pytest.approx(expected)
    batch = batch_of(copper_gold, range(7), range(7))
    errors = KalmanSteps(copper_gold[0], config, 1, Processes())._errors(0, batch)
    assert len(errors) == sum(n for n, scale in zip((1, FORCE_PARTS, 1), expected, strict=True) if scale)
    if expected[0] and expected[1]:
        found = deviations(copper_gold[0], batch)
        torch.testing.assert_close(errors[0](found, batch), expected[0] * kalman._energy_error(found, batch))


def test_a_step_tells_the_learning_curve_what_it_started_from(copper_gold):
    model = copper_gold[0]
    batch = batch_of(copper_gold, range(7), range(7))
    before = learning_curve.sums_of(kalman.errors_of(deviations(model, batch), batch))
    steps = KalmanSteps(model, LossConfig(), 1, Processes())
    sums = steps.step(0, batch, Prefactors(1.0, 1.0, 1.0), 1.0, lambda value: None)
    torch.testing.assert_close(sums, before)
    after = learning_curve.sums_of(kalman.errors_of(deviations(model, batch), batch))
    assert after[1] < before[1]  # forces


# Runs -----------------------------------------------------------------------------------------------------------------

def test_it_learns_more_from_few_frames(train, alloys, tmp_path):
    """Than gradients do in as many steps; errors in meV/A."""
    found = {}
    for optimizer in ("kalman", "muon"):
        train(alloys(20), alloys(6, seed=1), learning_rate={"optimizer": optimizer}, output=optimizer,
              training={"steps": 40, "validate_every": 40, "fit_output_layers": False})
        found[optimizer] = learning_curve.read(tmp_path / optimizer / "lcurve.csv")[-1].rmse_f_val
    assert found["kalman"] < 0.8 * found["muon"]


def test_an_interrupted_run_goes_on_with_the_same_numbers(train, alloys, tmp_path, monkeypatch):
    images, held_out = alloys(6), alloys(3, seed=1)
    whole = train(images, held_out, learning_rate=KALMAN, output="whole")
    undo = interrupt_at(monkeypatch, 7)
    assert not train(images, held_out, learning_rate=KALMAN, output="parts").finished
    undo()
    parts = train(images, held_out, learning_rate=KALMAN, output="parts", restart=True)
    assert equal(whole.model, parts.model)
    np.testing.assert_array_equal(curve(tmp_path / "whole"), curve(tmp_path / "parts"))


def test_its_size_is_told_and_nothing_made_before_the_first_step(alloys, tiny, tmp_path, capsys):
    prepared = preview(alloys(6), alloys(3, seed=1), output=str(tmp_path / "none"), **tiny(learning_rate=KALMAN))
    number = sum(weight.numel() for weight in prepared.model.parameters())
    assert f"Kalman filter: {number:,} weights in 1 blocks, {number**2 * 8e-9:.2g} GB" in capsys.readouterr().out


def test_a_loss_that_is_not_finite_names_no_rate(train, alloys, monkeypatch):
    monkeypatch.setattr(kalman, "_energy_error", lambda found, batch: found.energy.sum() * float("nan"))
    with pytest.raises(TrainingError, match=r"^the loss became nan at step 1: look for frames with huge forces$"):
        train(alloys(6), learning_rate=KALMAN)
