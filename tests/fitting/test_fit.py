"""Training from start to finish in Python: data of every kind, restarts, refusals."""

import errno
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import write

from ase_deeppot import DeepPotCalculator
from ase_deeppot.errors import ConfigError, DataError, StructureError
from ase_deeppot.fitting import FittingConfig, fit, learning_curve, preview, trainer
from ase_deeppot.fitting import finish as finish_module
from ase_deeppot.fitting.checkpoint import load_checkpoint
from ase_deeppot.fitting.config import TrainingConfig
from ase_deeppot.fitting.metrics import accuracy, parities, predict
from ase_deeppot.fitting.trainer import TrainingError
from ase_deeppot.fitting.validation import validate
from ase_deeppot.potential.archive import load_model, read_card
from ase_deeppot.potential.card import to_json
from ase_deeppot.resources import find


def weights(path) -> dict[str, torch.Tensor]:
    return dict(load_model(path).module.state_dict())


def equal(one, other) -> bool:
    one, other = weights(one), weights(other)
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def curve(folder) -> np.ndarray:
    """The learning curve without its seconds."""
    return np.array(learning_curve.read(Path(folder) / "lcurve.csv"))[:, :-1]


# What comes out ------------------------------------------------------------------------------------------------

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
    images = alloys(24, seed=5, gold=0.0, strain=0.08)
    options = {"model": {"rcut": 4.5, "descriptor": {"neuron": (6, 12), "axis_neuron": 3, "l_max": 1},
                         "fitting_net": {"neuron": (16, 16)}},
               "loss": {"start_pref_v": 200.0, "limit_pref_v": 200.0, "start_pref_f": 10.0},
               "learning_rate": {"start": 1e-2, "stop": 3e-4},
               "training": {"steps": 500, "batch_atoms": 24, "validate_every": 500, "checkpoint_every": 500}}
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


# What goes in ----------------------------------------------------------------------------------------------------

def test_sources_of_every_kind_are_the_same_run(train, alloys, tmp_path, monkeypatch):
    images = alloys(9)
    monkeypatch.chdir(tmp_path)
    write("a.traj", images)
    with connect("b.db") as rows, connect("c.json") as text:
        for k, atoms in enumerate(images):
            rows.write(atoms, part="first" if k < 6 else "second")
            text.write(atoms)
    for k in range(3):
        write(f"d{k}.traj", images[3 * k : 3 * k + 3])
    reference = train(images[:6], images[6:], output="reference")
    for n, (first, second) in enumerate([("a.traj@:6", "a.traj@6:"), ("b.db@part=first", ["b.db@part=second"]),
                                         (Path("c.json@:6"), "c.json@-3:"), ("d[01].traj", "d2.*"),
                                         (["d0.traj", *images[3:6]], iter(images[6:]))]):
        result = train(first, second, output=f"run{n}")
        assert equal(result.model, reference.model), first
        np.testing.assert_array_equal(curve(result.model.parent), curve(reference.model.parent))


def test_extended_xyz_is_the_same_to_its_eight_decimals(train, alloys, tmp_path):
    images = alloys(6)
    write(tmp_path / "a.extxyz", images)
    one = train(str(tmp_path / "a.extxyz"), alloys(2, seed=1), output="one", training={"steps": 4})
    other = train(images, alloys(2, seed=1), output="other", training={"steps": 4})
    np.testing.assert_allclose(curve(one.model.parent), curve(other.model.parent), rtol=1e-4)


def test_labels_under_names_of_their_own(train, alloys, tmp_path):
    images = alloys(6)
    renamed = []
    for atoms in images:
        bare = atoms.copy()
        bare.info |= {"E_ref": atoms.get_potential_energy(),
                      "W": atoms.get_volume() * atoms.get_stress(voigt=False).ravel()}
        bare.arrays["F_ref"] = atoms.get_forces()
        bare.calc = SinglePointCalculator(bare, energy=-1e3, forces=np.ones((len(bare), 3)))  # to be left alone
        renamed.append(bare)
    keys = {"energy": "E_ref", "forces": "F_ref", "virial": "W", "virial_sign": "+dE/dstrain"}
    one = train(renamed, data={"keys": keys}, output="one")
    other = train(images, output="other")
    np.testing.assert_allclose(curve(one.model.parent), curve(other.model.parent), rtol=1e-9)


def test_the_bundled_alcohols(train, alcohols):
    result = train(f"{alcohols}@split=train", f"{alcohols}@split=test", data={"memory": 0.0},
                   model={"precision": "float32"}, training={"steps": 30, "validate_every": 15})
    assert read_card(result.model).type_map == ("H", "C", "O")
    energy, forces, stress = result.validation
    assert energy.rmse < 0.5  # the bias by least squares alone, where compositions cannot be told apart
    assert 0 < forces.rmse < 2.0
    assert stress.labels == 0
    log = (result.model.parent / "train.log").read_text()
    assert "330      330     330       0  H C O" in log
    assert "\nvalidation, 72 frames" in log


def test_mappings_dataclasses_and_a_config_say_the_same(alloys, tmp_path, tiny):
    options = tiny(model={"type_map": ["Cu", "Au"]})
    images = alloys(6)
    one = fit(images, output=str(tmp_path / "one"), quiet=True, **options)
    assert isinstance(load_checkpoint(tmp_path / "one" / "checkpoint.pt").config, FittingConfig)
    from dataclasses import replace
    config = load_checkpoint(tmp_path / "one" / "checkpoint.pt").config
    two = fit(images, config=replace(config, output=str(tmp_path / "two")), quiet=True)
    three = fit(images, output=str(tmp_path / "three"), quiet=True, **{
        **options, "training": TrainingConfig(**options["training"]), "model": config.model})
    assert equal(one.model, two.model)
    assert equal(one.model, three.model)


def test_seeds(train, alloys):
    images = alloys(10)
    runs = [train(images, output=f"run{n}", training={"seed": seed, "steps": 4}).model
            for n, seed in enumerate((1, 1, 2))]
    assert equal(runs[0], runs[1])
    assert not equal(runs[0], runs[2])
    np.testing.assert_array_equal(curve(runs[0].parent), curve(runs[1].parent))


def test_the_terminal_and_the_log_say_the_same(alloys, tmp_path, tiny, capsys):
    fit(alloys(6), output=str(tmp_path / "out"), **tiny())
    out = capsys.readouterr().out
    assert out == (tmp_path / "out" / "train.log").read_text()
    assert "1 of them set aside for validation" in out
    assert learning_curve.HEADER in out
    step = read_card(tmp_path / "out" / "model.pth").training["steps"]
    assert out.endswith(f"wrote {tmp_path}/out/model.pth, the best model, of step {step}\n")
    fit(alloys(6), output=str(tmp_path / "quiet"), quiet=True, **tiny())
    assert capsys.readouterr() == ("", "")


def test_without_tqdm(train, alloys, tmp_path, monkeypatch, tiny, capsys):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    fit(alloys(4), output=str(tmp_path / "out"), **tiny())
    assert capsys.readouterr().out == (tmp_path / "out" / "train.log").read_text()


def test_units_are_suspected(train, alloys, tmp_path):
    images = alloys(6)
    for atoms in images:
        atoms.calc.results["stress"] = atoms.calc.results["stress"] * 1602.0
    train(images)
    assert ("warning: Atoms in memory: a stress of " in (tmp_path / "out" / "train.log").read_text())
    train(alloys(3), images, output="other")  # those of the validation frames as well
    assert "is it in eV/A^3, not GPa or kbar?\n" in (tmp_path / "other" / "train.log").read_text()


# Restarts --------------------------------------------------------------------------------------------------------

def interrupt_at(monkeypatch, step):
    """Raise SIGINT in the middle of the run."""
    original = trainer.Trainer.step

    def stopping(self):
        original(self)
        if self.done == step:
            os.kill(os.getpid(), 2)
    monkeypatch.setattr(trainer.Trainer, "step", stopping)
    return lambda: monkeypatch.setattr(trainer.Trainer, "step", original)


def test_an_interrupted_run_goes_on_with_the_same_numbers(train, alloys, tmp_path, monkeypatch):
    images = alloys(10)
    whole = train(images, output="whole")
    undo = interrupt_at(monkeypatch, 7)
    result = train(images)
    assert not result.finished
    assert not result.model.exists()
    assert (tmp_path / "out" / "train.log").read_text().endswith(
        f"interrupted at step 7; {tmp_path}/out/checkpoint.pt holds step 7: go on with restart, or freeze it\n")
    undo()
    result = train(images, restart=True)
    assert result.finished
    assert equal(result.model, whole.model)
    np.testing.assert_array_equal(curve(tmp_path / "out"), curve(tmp_path / "whole"))
    again = train(images, restart=True)  # a finished run has nothing left to do
    assert again.finished
    assert equal(again.model, whole.model)


@pytest.fixture
def stopped(train, alloys, monkeypatch):
    """Images of a run in out/ that stopped at step 5."""
    images = alloys(8)
    undo = interrupt_at(monkeypatch, 5)
    train(images, alloys(3, seed=1))
    undo()
    return images


@pytest.mark.parametrize(("changes", "message"), [
    ({"training": {"steps": 20}}, "training.steps (was 12, now 20)"),
    ({"model": {"descriptor": {"neuron": [3, 6], "axis_neuron": 3}}}, "model.descriptor.axis_neuron (was 2, now 3)"),
    ({"loss": {"limit_pref_e": 3}, "learning_rate": {"start": 0.1}},
     "loss.limit_pref_e (was 400.0, now 3.0), learning_rate.start (was 0.005, now 0.1)"),
    ({"data": {"keys": {"stress": "S"}}}, "data.keys.stress (was 'stress', now 'S')"),
])
def test_other_settings_are_refused_by_name(train, stopped, alloys, changes, message):
    with pytest.raises(ConfigError) as caught:
        train(stopped, alloys(3, seed=1), restart=True, **changes)
    assert str(caught.value) == f"cannot restart with other settings: {message}"


def test_settings_that_change_no_number_may_change(train, stopped, alloys):
    result = train(stopped, alloys(3, seed=1), restart=True, training={"checkpoint_every": 3},
                   data={"memory": 0.1})
    whole = train(stopped, alloys(3, seed=1), output="whole")
    assert equal(result.model, whole.model)


@pytest.mark.parametrize("part", ["training", "validation"])
def test_other_data_are_refused_by_name(train, stopped, alloys, tmp_path, part):
    write(tmp_path / "new.traj", alloys(3, seed=7))
    sources = {"training": stopped, "validation": alloys(3, seed=1)}
    for changed in (sources[part][:-1], [*sources[part], str(tmp_path / "new.traj")]):
        with pytest.raises(ConfigError) as caught:
            train(*(sources | {part: changed}).values(), restart=True)
        assert f"cannot restart with other data: the {part} frames of " in str(caught.value)
        assert str(caught.value).endswith(" are not those of the checkpoint")
    assert "new.traj" in str(caught.value)


def test_data_may_move(train, alloys, tmp_path, monkeypatch):
    images = alloys(8)
    write(tmp_path / "a.traj", images)
    undo = interrupt_at(monkeypatch, 5)
    train(str(tmp_path / "a.traj"))
    undo()
    (tmp_path / "a.traj").rename(tmp_path / "b.traj")
    assert equal(train(str(tmp_path / "b.traj"), restart=True).model, train(images, output="whole").model)


# The best model, and an early stop -----------------------------------------------------------------------------------

@pytest.fixture
def losses(monkeypatch):
    """Validation losses that the test chooses, one after the other; the last one again and again."""
    chosen = []

    def scripted(model, dataset, config, processes):
        found = validate(model, dataset, config)
        value = chosen.pop(0) if len(chosen) > 1 else chosen[0] if chosen else found.loss
        return found._replace(loss=value)
    monkeypatch.setattr(trainer, "validate", scripted)
    return chosen


def test_the_best_model_is_kept_beside_the_last(train, alloys, tmp_path, losses):
    losses += [3.0, 1.0, 2.0]
    result = train(alloys(6), alloys(3, seed=1), training={"steps": 12, "validate_every": 4})
    best, last = result.model, tmp_path / "out" / "last.pth"
    assert (read_card(best).training["steps"], read_card(last).training["steps"]) == (8, 12)
    checkpoint = load_checkpoint(tmp_path / "out" / "checkpoint.pt")
    assert all(torch.equal(checkpoint.best.weights[key], value) for key, value in weights(best).items())
    assert all(torch.equal(checkpoint.weights[key], value) for key, value in weights(last).items())
    assert not equal(best, last)
    rows = learning_curve.read(tmp_path / "out" / "lcurve.csv")
    assert [row.loss_val for row in rows] == [3.0, 1.0, 2.0]
    assert result.validation[1].rmse == pytest.approx(rows[1].rmse_f_val, rel=1e-6)
    assert read_card(last).training["validation_rmse"]["forces"] == pytest.approx(rows[2].rmse_f_val, rel=1e-6)


def test_patience(train, alloys, tmp_path, losses):
    losses += [3.0, 2.0, 2.5, 2.0, 1.0]
    options = {"steps": 60, "validate_every": 4, "patience": 2}
    result = train(alloys(6), alloys(3, seed=1), training=options)
    assert result.finished
    assert [row.step for row in learning_curve.read(tmp_path / "out" / "lcurve.csv")] == [4, 8, 12, 16]
    log = (tmp_path / "out" / "train.log").read_text()
    assert "no better model in 2 validations: stopped early, at step 16\n" in log
    assert read_card(result.model).training["steps"] == 8
    again = train(alloys(6), alloys(3, seed=1), training=options, restart=True)
    assert again.finished
    assert len(learning_curve.read(tmp_path / "out" / "lcurve.csv")) == 4
    train(alloys(6), alloys(3, seed=1), training=options | {"patience": 3}, restart=True)  # more of it goes on
    assert [row.step for row in learning_curve.read(tmp_path / "out" / "lcurve.csv")][4] == 20


def test_an_early_stop_comes_at_the_same_step_after_an_interrupt(train, alloys, tmp_path, monkeypatch):
    images, held_out = alloys(6), alloys(3, seed=1)
    options = {"steps": 400, "validate_every": 2, "patience": 3, "checkpoint_every": 5}
    rate = {"start": 0.3, "stop": 0.3}
    whole = train(images, held_out, output="whole", training=options, learning_rate=rate)
    steps = read_card(whole.model).training["steps_done"]
    assert steps < 400
    undo = interrupt_at(monkeypatch, steps - 3)
    train(images, held_out, training=options, learning_rate=rate)
    undo()
    result = train(images, held_out, training=options, learning_rate=rate, restart=True)
    assert read_card(result.model).training["steps_done"] == steps
    assert equal(result.model, whole.model)
    np.testing.assert_array_equal(curve(tmp_path / "out"), curve(tmp_path / "whole"))


def test_errors_by_source(train, alloys, tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        write(tmp_path / f"{name}.traj", alloys(3, seed=seed))
    held_out = [str(tmp_path / "a.traj"), str(tmp_path / "b.traj")]
    train(alloys(6), held_out)
    lines = (tmp_path / "out" / "lcurve_sources.csv").read_text().splitlines()
    expected = [[step, name] for step in ("5", "10", "12") for name in held_out]
    assert [line.split(",")[:2] for line in lines[1:]] == expected
    squares = [float(line.split(",")[3]) ** 2 for line in lines[-2:]]
    atoms = [sum(map(len, alloys(3, seed=seed))) for seed in (1, 2)]
    rmse = np.sqrt(np.average(squares, weights=atoms))
    assert learning_curve.read(tmp_path / "out" / "lcurve.csv")[-1].rmse_f_val == pytest.approx(rmse, rel=1e-6)
    assert f"\n  {held_out[1]}: energy " in (tmp_path / "out" / "train.log").read_text()


# A preview -----------------------------------------------------------------------------------------------------------

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


# Refusals ----------------------------------------------------------------------------------------------------------

def test_a_run_is_not_overwritten(train, alloys, tmp_path):
    train(alloys(4))
    before = (tmp_path / "out" / "model.pth").read_bytes()
    with pytest.raises(ConfigError) as caught:
        train(alloys(4))
    assert str(caught.value) == (f"{tmp_path}/out/checkpoint.pt is there already: restart to go on from it, choose "
                                 "another output folder, or delete it")
    (tmp_path / "out" / "checkpoint.pt").unlink()
    with pytest.raises(ConfigError, match=r"model.pth is there already: choose another output folder, or delete it$"):
        train(alloys(4))
    assert (tmp_path / "out" / "model.pth").read_bytes() == before


def test_output_folders_that_cannot_be(train, alloys, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match=rf"^cannot make the output folder {tmp_path}/file: File exists$"):
        train(alloys(2), output="file")
    with pytest.raises(ConfigError, match=rf"^cannot make the output folder {tmp_path}/file/deep: Not a directory$"):
        train(alloys(2), output="file/deep")
    with pytest.raises(ConfigError, match=rf"^cannot restart: no {tmp_path}/none/checkpoint.pt$"):
        train(alloys(2), output="none", restart=True)
    assert not (tmp_path / "none").exists()


def test_a_corrupt_checkpoint_is_no_start(train, alloys, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "checkpoint.pt").write_bytes(b"hello")
    with pytest.raises(ValueError, match="expected a checkpoint, got a truncated or foreign file"):
        train(alloys(2), restart=True)


@pytest.mark.parametrize(("changes", "error", "message"), [
    ({"modl": {}}, ConfigError, "unknown option 'modl' in [the input]; did you mean 'model'?"),
    ({"training": {"step": 3}}, ConfigError, "unknown option 'step' in [training]; did you mean 'steps'?"),
    ({"model": {"type_map": ["Cu"]}}, StructureError, "Atoms in memory frame 0: expected elements of the model (Cu), "
                                                      "got Au"),
    ({"training": {"device": "gpu"}}, ConfigError, "expected a device that works here for training.device, got 'gpu'"),
])
def test_options_that_cannot_be_used(train, alloys, changes, error, message):
    with pytest.raises(error) as caught:
        train(alloys(1, gold=1.0), **changes)
    assert str(caught.value).startswith(message)


def test_config_and_options_exclude_each_other(alloys):
    with pytest.raises(ConfigError, match=r"expected either config or single options, got both \(config and output\)"):
        fit(alloys(1), config=FittingConfig(), output="x")


@pytest.mark.parametrize("sources", [None, []])
def test_no_sources(train, sources):
    with pytest.raises(ConfigError, match=r"^expected data.train to name at least one source, got none$"):
        train(sources)


def test_bad_data_are_named(train, alloys, tmp_path):
    images = alloys(3)
    images[1].calc.results["forces"][0, 0] = np.nan
    with pytest.raises(DataError, match=r"^Atoms in memory frame 1: expected finite numbers under 'forces', got nan$"):
        train(images)
    write(tmp_path / "a.db", alloys(3))
    with pytest.raises(DataError, match=r"a.db@natoms=77: expected at least one frame, got none$"):
        train(str(tmp_path / "a.db@natoms=77"))
    with pytest.raises(DataError, match=r'expected labels under "energy", "forces", "stress", got none'):
        train(Atoms("Cu", cell=3 * np.eye(3), pbc=True))
    other = Atoms("Ag", cell=3 * np.eye(3), pbc=True)
    other.calc = SinglePointCalculator(other, energy=0.0)
    write(tmp_path / "silver.traj", other)
    with pytest.raises(StructureError, match=r"silver.traj frame 0: expected elements of the model \(.*\), got Ag$"):
        train(alloys(3), str(tmp_path / "silver.traj"))


def test_one_frame_is_enough(train, alloys):
    result = train(alloys(1))
    assert result.finished
    assert result.validation == ()
    assert read_card(result.model).training["validation_rmse"] == {}


def test_a_model_that_cannot_be_written(train, alloys, tmp_path, monkeypatch):
    original = finish_module.save_model

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(finish_module, "save_model", full)
    with pytest.raises(TrainingError) as caught:
        train(alloys(4))
    assert str(caught.value) == (f"could not write {tmp_path}/out/model.pth (No space left on device); {tmp_path}/out/"
                                 "checkpoint.pt holds step 12: make room and restart")
    monkeypatch.setattr(finish_module, "save_model", original)
    assert train(alloys(4), restart=True).model.exists()


def test_metrics_of_the_file_are_those_of_the_run(train, alloys):
    from ase_deeppot.fitting.datasets import Dataset
    from ase_deeppot.fitting.sources import read_frames
    held_out = alloys(3, seed=1)
    result = train(alloys(6), held_out)
    model, frames = load_model(result.model), read_frames(held_out)[0]
    rows = map(accuracy, parities(frames, predict(model, Dataset(frames, model.card.type_map, model.card.rcut))))
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
