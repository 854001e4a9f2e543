"""Training from start to finish: what it leaves and says, and its errors."""

import shutil

import numpy as np
import pytest
import torch
from ase.io import write
from trained import curve, weights

from ase_deeppot import DeepPotCalculator
from ase_deeppot.errors import ConfigError, DataError
from ase_deeppot.fitting import fit, learning_curve, preview
from ase_deeppot.fitting.checkpoint import load_checkpoint
from ase_deeppot.fitting.metrics import accuracy, parities, predict
from ase_deeppot.potential.archive import load_model, read_card
from ase_deeppot.potential.card import to_json
from ase_deeppot.resources import find


def test_what_a_run_leaves(train, alloys, tmp_path):
    result = train(alloys(10), alloys(3, seed=1))
    assert result.finished
    assert result.model == tmp_path / "out" / "model.pth"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "checkpoint.pt", "lcurve.csv", "model.pth", "train.log"]
    assert [row.name for row in result.validation] == ["energy", "forces", "stress"]
    card = read_card(result.model)
    assert card.type_map == ("Cu", "Au")
    assert card.training["steps"] == 12
    assert card.training["validation_rmse"] == {row.name: row.rmse for row in result.validation}
    assert card.domain.frames == 10
    rows = learning_curve.read(tmp_path / "out" / "lcurve.csv")
    assert [row.step for row in rows] == [5, 10, 12]
    assert (rows[-1].rmse_e_val, rows[-1].rmse_f_val, rows[-1].rmse_s_val) == pytest.approx(
        [row.rmse for row in result.validation], rel=1e-7)
    state = load_checkpoint(tmp_path / "out" / "checkpoint.pt")
    assert all(torch.equal(state.weights[key], value) for key, value in weights(result.model).items())


@pytest.fixture(scope="module")
def stressed(tmp_path_factory, alloys):
    """Trained on energies, forces and stresses of strained copper, most of the weight on the stress."""
    images = alloys(32, seed=5, gold=0.0, strain=0.08)
    options = {"model": {"rcut": 4.5, "descriptor": {"neuron": (6, 12), "axis_neuron": 3, "l_max": 1},
                         "fitting_net": {"neuron": (16, 16)}},
               "loss": {"start_pref_v": 200.0, "limit_pref_v": 200.0, "start_pref_f": 10.0},
               "learning_rate": {"start": 1e-2, "stop": 3e-4},
               "training": {"steps": 1000, "batch_atoms": 24, "validate_every": 1000, "checkpoint_every": 1000},
               "monitor": {"plot": False, "report": False}}
    held_out = alloys(10, seed=6, gold=0.0, strain=0.08)
    folder = tmp_path_factory.mktemp("stressed")
    return fit(images, held_out, output=str(folder), quiet=True, **options), held_out


def test_training_on_stress_gives_the_stress_with_its_sign(stressed):
    result, held_out = stressed
    label, prediction = [], []
    for atoms in held_out:
        own = atoms.copy()
        own.calc = DeepPotCalculator(result.model)
        label.append(atoms.get_stress()), prediction.append(own.get_stress())
    label, prediction = np.array(label), np.array(prediction)
    assert np.sqrt(np.mean((prediction - label) ** 2)) < 0.25 * np.sqrt(np.mean(label**2))
    assert np.corrcoef(label[:, :3].sum(1), prediction[:, :3].sum(1))[0, 1] > 0.95
    strong = np.abs(label) > 0.02
    assert strong.sum() > 10
    assert (np.sign(prediction[strong]) == np.sign(label[strong])).all()


def test_training_reduces_all_errors(stressed):
    result, held_out = stressed
    energies = np.array([atoms.get_potential_energy() / len(atoms) for atoms in held_out])
    forces = np.concatenate([atoms.get_forces() for atoms in held_out])
    energy, force, _ = result.validation
    assert energy.rmse < 0.4 * energies.std()
    assert force.rmse < 0.5 * np.sqrt(np.mean(forces**2))


@pytest.mark.parametrize("properties", [(("energy",),), (("forces",),), (("stress",),),
                                        (("energy",), ("forces",), ("energy", "stress"))])
def test_frames_train_on_the_labels_they_have(train, alloys, properties):
    images = alloys(12, properties=properties)
    result = train(images, images[:6], training={"steps": 60, "validate_every": 30},
                   loss={"start_pref_f": 1.0, "limit_pref_f": 1.0})
    present = {name for group in properties for name in group}
    assert {row.name for row in result.validation if row.labels} == present
    first, last = curve(result.model.parent)
    assert (np.isfinite(last[1:-2]) == [name in present for name in ("energy", "forces", "stress") for _ in "vt"]).all()
    columns = [1 + 2 * ("energy", "forces", "stress").index(name) for name in present]
    assert (last[columns] <= first[columns]).any()
    assert all(bool(value.isfinite().all()) for value in weights(result.model).values())


def test_missing_labels_change_nothing_for_the_others(train, alloys):
    """A stress that is not read gives the run of frames that have none."""
    with_stress, without = alloys(6), alloys(6, properties=("energy", "forces"))
    one = train(with_stress, alloys(2), output="one", data={"keys": {"stress": ""}})
    other = train(without, alloys(2), output="other")
    np.testing.assert_array_equal(curve(one.model.parent)[:, [2, 4]], curve(other.model.parent)[:, [2, 4]])


def test_isolated_atoms_fix_the_energy_bias(train, alloys, isolated):
    frames = [*alloys(6), isolated("Cu"), isolated("Au")]
    result = train(frames, data={"energy_bias": "isolated_atoms", "validation_fraction": 0.5})
    expected = [isolated(symbol).get_potential_energy() for symbol in ("Cu", "Au")]
    np.testing.assert_allclose(weights(result.model)["fitting_net.energy_bias"], expected, rtol=1e-12)
    with pytest.raises(DataError, match=r"got none for Au; use 'least_squares'$"):
        train(frames[:-1], output="other", data={"energy_bias": "isolated_atoms"})

def test_one_frame_is_enough(train, alloys):
    result = train(alloys(1))
    assert result.finished
    assert result.validation == ()
    assert read_card(result.model).training["validation_rmse"] == {}

def test_metrics_of_the_file_are_those_of_the_run(train, alloys):
    from ase_deeppot.fitting.datasets import Dataset
    from ase_deeppot.fitting.sources import read_frames
    held_out = alloys(3, seed=1)
    result = train(alloys(6), held_out)
    model, frames = load_model(result.model), read_frames(held_out)[0]
    rows = map(accuracy, parities(frames, predict([model], Dataset(frames, model.card.type_map, model.card.rcut))))
    for row, expected in zip(rows, result.validation, strict=True):
        assert (row.name, row.unit, row.labels) == (expected.name, expected.unit, expected.labels)
        assert (row.rmse, row.mae, row.largest) == pytest.approx((expected.rmse, expected.mae, expected.largest), 1e-12)


def test_the_card_names_no_folder(tmp_path, tiny):
    data = tmp_path / "private" / "frames.db"
    data.parent.mkdir()
    shutil.copy(find("examples/data/alcohols.db"), data)
    result = fit(f"{data}@molecule=water", f"{data}@molecule=water-water", **tiny(output=str(tmp_path / "out")))
    card = to_json(read_card(result.model))
    assert "frames.db@molecule=water" in card
    assert "private" not in card

def test_a_preview_shows_all_and_writes_nothing(alloys, tmp_path, tiny, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("frames.traj", alloys(8))
    prepared = preview("frames.traj", output="never", **tiny(monitor={"plot": True, "report": True}))
    assert [path.name for path in tmp_path.iterdir()] == ["frames.traj"]
    shown = capsys.readouterr().out
    assert shown.endswith("nothing was trained or written\n")
    fit("frames.traj", output="out", **tiny())
    trained = capsys.readouterr().out
    assert shown.split("nothing was")[0] == trained.split(learning_curve.HEADER)[0]
    assert "\n".join(prepared.overview) in shown
    with pytest.raises(ConfigError, match=r"^out/checkpoint.pt is there already"):
        preview("frames.traj", output="out", **tiny())
