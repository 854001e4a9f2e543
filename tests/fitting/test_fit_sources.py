"""Training in Python on data of every kind, with options in every form."""

import sys
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import write
from trained import curve, equal

from ase_deeppot.fitting import FittingConfig, fit, learning_curve
from ase_deeppot.fitting.checkpoint import load_checkpoint
from ase_deeppot.fitting.config import TrainingConfig
from ase_deeppot.potential.archive import read_card


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


@pytest.mark.slow
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
