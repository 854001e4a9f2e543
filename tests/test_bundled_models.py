"""The bundled models: their cards are true, and what they say of crystals and molecules is sane."""

import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.fd import calculate_numerical_forces
from ase.io import read
from ase.optimize import BFGS
from ase.spacegroup import crystal

from ase_deeppot import DeepPotCalculator, cli
from ase_deeppot.config import parse
from ase_deeppot.errors import ModelFileError
from ase_deeppot.fitting.config import FittingConfig
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.metrics import predict
from ase_deeppot.fitting.sources import read_frames
from ase_deeppot.fitting.validation import errors_of
from ase_deeppot.interop import load_model, read_card
from ase_deeppot.resources import bundled_models, find

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
NAMES = ("Li", "Mo", "TiO2", "ethanol", "water")


def structure(name):
    """A crystal, molecule or liquid of which the model knows."""
    if name == "water":
        return read(find("examples/data/water_box.extxyz"))
    if name == "ethanol":
        return molecule("CH3CH2OH")
    if name == "TiO2":
        places = [(0, 0, 0), (0.3053, 0.3053, 0)]
        return crystal(("Ti", "O"), places, spacegroup=136, cellpar=[4.6, 4.6, 2.96, 90, 90, 90])
    return bulk(name, "bcc", a={"Li": 3.43, "Mo": 3.17}[name], cubic=True)


def test_names():
    assert tuple(sorted(bundled_models())) == NAMES
    assert DeepPotCalculator.pretrained("water", skin=0.5).parameters["skin"] == 0.5
    with pytest.raises(ModelFileError, match=r"bundled model \(Li, Mo, TiO2, ethanol, water\), got 'gold'"):
        DeepPotCalculator.pretrained("gold")


@pytest.mark.parametrize("name", NAMES)
def test_input_file_is_the_one_that_made_it(name):
    card = read_card(find(f"models/{name}.pth"))
    config = parse(FittingConfig, tomllib.loads(find(f"models/{name}.toml").read_text()))
    terms = [terms for _, terms in card.config.fitting_net.polynomial]
    asked = config.training.monomials  # in place of the input's nets, if any; the last of each run are one
    assert len(terms) == (len(card.type_map) if asked else 0)
    assert all(0.8 * asked < number < asked for number in terms)
    assert (replace(card.config, fitting_net=config.model.fitting_net) if terms else card.config) == config.model
    assert card.training["steps_done" if "steps_done" in card.training else "steps"] == config.training.steps


@pytest.mark.parametrize("name", NAMES)
def test_errors_of_the_file_are_those_of_the_card_and_the_list(name, capsys):
    about = read_card(find(f"models/{name}.pth")).training["bundled"]
    text = find(f"models/{name}.md").read_text(encoding="utf-8")
    assert f"RMSE {1e3 * about['rmse']['energy']:.2f} meV/atom" in text
    assert f"RMSE {1e3 * about['rmse']['forces']:.1f} meV/Å" in text
    assert cli.main(["models", name]) == 0
    shown = "".join(line for line in text.splitlines(keepends=True) if "<!--" not in line)
    assert capsys.readouterr() == (shown, "")
    assert cli.main(["models"]) == 0
    out, err = capsys.readouterr()
    line = next(line for line in out.splitlines() if line.startswith(f"{name} "))
    assert err == ""
    assert f"{1e3 * about['rmse']['energy']:.2f} meV/atom, {1e3 * about['rmse']['forces']:.1f} meV/A" in line
    assert about["data"] in line


@pytest.mark.slow
@pytest.mark.skipif(not DATA.exists(), reason="needs the public data sets beside the repository")
@pytest.mark.parametrize("name", NAMES)
def test_errors_on_held_out_frames_are_those_of_the_file(name):
    model = load_model(find(f"models/{name}.pth"))
    source = parse(FittingConfig, tomllib.loads(find(f"models/{name}.toml").read_text())).data.train[0]
    frames, _ = read_frames(str((DATA / source).with_name("test.extxyz")))
    dataset = Dataset(frames, model.card.type_map, model.card.rcut)
    for row in errors_of(frames, predict([model], dataset))[:2]:
        assert row.rmse == pytest.approx(model.card.training["bundled"]["rmse"][row.name], rel=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_forces_are_derivatives_of_the_energy(name, compiled_loops):
    atoms = structure(name)
    atoms.rattle(0.05, seed=1)
    atoms.calc = DeepPotCalculator(name, dtype="float64")
    some = [0, len(atoms) - 1]
    np.testing.assert_allclose(atoms.get_forces()[some], calculate_numerical_forces(atoms, eps=1e-4, iatoms=some),
                               atol=2e-6)
    assert 0.01 < np.abs(atoms.get_forces()).max() < 20


@pytest.mark.parametrize(("symbol", "edge", "bulk_modulus"), [("Li", 3.427, 14), ("Mo", 3.168, 263)])
def test_a_metal_is_stable_near_its_lattice_constant(symbol, edge, bulk_modulus):
    """PBE's edge (A) and bulk modulus (GPa)."""
    calculator, strains = DeepPotCalculator(symbol, dtype="float64"), np.linspace(-0.02, 0.02, 5)
    energies, pressures = [], []
    for strain in strains:
        atoms = bulk(symbol, "bcc", a=edge * (1 + strain))
        atoms.calc = calculator
        energies.append(atoms.get_potential_energy())
        pressures.append(-atoms.get_stress()[:3].mean())
    curve = np.polynomial.Polynomial.fit(strains, energies, 3)
    lowest = min(curve.deriv().roots(), key=abs)
    assert abs(lowest) < 0.01
    assert -np.polyfit(3 * strains, pressures, 1)[0] * 160.22 == pytest.approx(bulk_modulus, rel=0.3)


def test_ethanol_relaxes_to_its_bonds():
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=1)
    atoms.calc = DeepPotCalculator("ethanol")
    assert BFGS(atoms, logfile=None).run(fmax=0.02, steps=200)
    index = {symbol: np.flatnonzero(atoms.symbols == symbol) for symbol in "CO"}
    oxygen = index["O"][0]
    nearest = sorted(atoms.get_distance(oxygen, k) for k in range(len(atoms)) if k != oxygen)
    assert atoms.get_distance(*index["C"]) == pytest.approx(1.52, abs=0.03)
    assert nearest[:2] == pytest.approx([0.97, 1.43], abs=0.03)


def test_rutile_has_little_pressure_and_the_right_oxygens():
    atoms = structure("TiO2")
    atoms.calc = DeepPotCalculator("TiO2")
    assert BFGS(atoms, logfile=None).run(fmax=0.02, steps=100)
    u = atoms.get_scaled_positions()[2, 0]
    assert u == pytest.approx(0.305, abs=0.01)
    assert np.abs(atoms.get_stress()[:3]).max() < 0.1  # eV/A^3
