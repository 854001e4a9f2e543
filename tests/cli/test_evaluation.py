"""``deeppot evaluate``: what it prints, draws and writes."""

import sys

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write
from calculator_errors import calculator_errors
from runs import deeppot, emt, error_of, table

from ase_deeppot import DeepPotCalculator


def test_evaluate_prints_the_right_numbers(copper, copper_file, tmp_path, capsys):
    status, out, err = deeppot(capsys, "evaluate", copper_file, tmp_path / "copper.traj")
    assert (status, err) == (0, "")
    printed = table(out)
    for name, errors in calculator_errors(copper_file, copper).items():
        values = 1e3 * errors
        count, rmse, mae = printed[name]
        assert int(count) == len(values)
        assert float(rmse) == pytest.approx(np.sqrt(np.mean(values**2)), rel=6e-4)
        assert float(mae) == pytest.approx(np.mean(np.abs(values)), rel=6e-4)


def test_evaluate_several_sources_and_keys(copper, copper_file, tmp_path, capsys):
    for atoms in copper:
        atoms.info["E"] = atoms.calc.results.pop("energy")
    write(tmp_path / "renamed.traj", copper)
    sources = (tmp_path / "renamed.traj@:2", tmp_path / "renamed.traj@2")
    status, out, err = deeppot(capsys, "evaluate", copper_file, *sources, "--key", "energy=E")
    assert (status, err, out.split("  ")[0]) == (0, "", "3 frames")
    assert table(out)["energy"][0] == "3"
    status, out, err = deeppot(capsys, "evaluate", copper_file, tmp_path / "renamed.traj")
    assert table(out)["energy"] == ("none in the data", "-", "-")
    assert err == (f'deeppot: warning: {tmp_path}/renamed.traj: no energy under "energy", found "E": set keys.energy\n')


@pytest.mark.parametrize(("key", "message"), [
    ("energy", "expected --key LABEL=KEY, got 'energy'"),
    ("enrgy=E", "unknown option 'enrgy' in [--key]; did you mean 'energy'?"),
    ("virial=W", 'expected virial_sign = '),
])
def test_keys_that_cannot_be_used(copper_file, capsys, key, message):
    assert error_of(capsys, "evaluate", copper_file, "x.traj", "--key", key).startswith(message)


def test_evaluate_names_frames_that_the_model_does_not_know(copper_file, tmp_path, capsys):
    images = [bulk(symbol, cubic=True) for symbol in ("Cu", "Au")]
    for atoms in images:
        atoms.rattle(0.1, seed=1)
    write(tmp_path / "gold.traj", list(map(emt, images)))
    message = error_of(capsys, "evaluate", copper_file, tmp_path / "gold.traj")
    assert message == f"{tmp_path}/gold.traj frame 1: expected elements of the model (Cu), got Au"


def test_evaluate_plots(copper, copper_file, tmp_path, capsys):
    from matplotlib.image import imread
    status, out, _ = deeppot(capsys, "evaluate", copper_file, tmp_path / "copper.traj", "--plot", tmp_path / "p.png")
    assert status == 0
    assert out.endswith(f"\nwrote {tmp_path}/p.png\n")
    image = imread(tmp_path / "p.png")
    assert image.shape[:2] == (1200, 1512)
    assert 0.01 < (image[:, :, :3].min(axis=2) < 0.9).mean() < 0.5


def test_evaluate_writes_tables_and_predictions(copper, copper_file, tmp_path, capsys):
    from ase.io import read
    status, out, _ = deeppot(capsys, "evaluate", copper_file, tmp_path / "copper.traj", "--csv", tmp_path / "e.csv",
                             "--save", tmp_path / "p.xyz")
    assert status == 0
    assert out.endswith(f"\nwrote {tmp_path}/e.csv\nwrote {tmp_path}/p.xyz\n")
    assert "forces by species, meV/A" in out
    lines = (tmp_path / "e.csv").read_text().splitlines()
    rmse = float(next(line for line in lines if line.startswith("species,Cu,forces")).split(",")[4])
    assert float(table(out)["forces"][1]) == pytest.approx(1e3 * rmse, rel=1e-3)
    images = read(tmp_path / "p.xyz", ":")
    own = copper[1].copy()
    own.calc = DeepPotCalculator(copper_file)
    np.testing.assert_allclose(images[1].get_forces(), own.get_forces(), atol=1e-7)
    np.testing.assert_allclose(images[1].arrays["REF_forces"], copper[1].get_forces(), atol=1e-7)


def test_evaluate_without_matplotlib(copper, copper_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    status, out, err = deeppot(capsys, "evaluate", copper_file, tmp_path / "copper.traj", "--plot", tmp_path / "p.png")
    assert (status, err) == (2, "deeppot: plots need matplotlib: pip install 'ase-deeppot[plots]'\n")
    assert len(table(out)) == 3
    assert deeppot(capsys, "evaluate", copper_file, tmp_path / "copper.traj")[0] == 0


def test_evaluate_a_committee(copper, copper_file, model_file, tmp_path, capsys):
    from ase.io import read
    others = [model_file(type_map=("Cu",), seed=seed) for seed in (1, 2)]
    status, out, err = deeppot(capsys, "evaluate", copper_file, tmp_path / "copper.traj", "--save", tmp_path / "p.xyz",
                               "--committee", *others)
    assert (status, err) == (0, "")
    models = [copper_file, *others]
    errors = calculator_errors(models, copper)["forces"]
    assert float(table(out)["forces"][1]) == pytest.approx(1e3 * np.sqrt(np.mean(errors**2)), rel=6e-4)
    calc = DeepPotCalculator(models)
    for frame, written in zip(copper, read(tmp_path / "p.xyz", ":"), strict=True):
        atoms = frame.copy()
        atoms.calc = calc
        np.testing.assert_allclose(written.get_forces(), atoms.get_forces(), atol=1e-7)
        np.testing.assert_allclose(written.arrays["forces_deviation"], calc.deviation.forces, atol=1e-7)
    found = [written.arrays["forces_deviation"] for written in read(tmp_path / "p.xyz", ":")]
    worst, every = int(np.argmax([of_frame.max() for of_frame in found])), np.concatenate(found)
    line = next(line for line in out.splitlines() if line.startswith("3 models"))
    assert line == (f"3 models, their mean; forces on an atom are {1e3 * np.sqrt(np.mean(every**2)):.4g} meV/A (RMS) "
                    f"from it, at most {1e3 * every.max():.4g} meV/A in {tmp_path}/copper.traj frame {worst}")


def test_evaluate_models_that_do_not_belong_together(copper, copper_file, model_file, tmp_path, capsys):
    message = error_of(capsys, "evaluate", copper_file, tmp_path / "copper.traj", "--committee",
                       model_file(type_map=("Cu",), rcut=4.5))
    assert message == "expected several models with the same cutoff, got 4 A in the first and 4.5 A in number 2"
