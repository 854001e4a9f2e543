"""DeePMD-kit's own files and answers, where they are at hand: models of every format, digit by digit."""

import os
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from builders import both_engines

from ase_deeppot import DeepPotCalculator
from ase_deeppot.interop import load_model, read_card
from ase_deeppot.neighbors import neighbor_pairs
from ase_deeppot.potential.engine import engine

SHARED = Path(os.environ.get("DEEPPOT_SHARED", Path(__file__).parents[3] / "shared")) / "interop"
pytestmark = pytest.mark.skipif(not SHARED.exists(), reason=f"needs DeePMD-kit's files and answers in {SHARED}")
FRAMES = ("cluster", "md", "md2", "rattled", "super", "triclinic")
# What DeePMD-kit's own unit tests expect of deeppot.pbtxt for their six atoms in a box of 13 A.
PBTXT_ENERGIES = (-92.75780747115504710, -186.3501786584258468, -186.3392472863538103, -92.79281325486221021,
                  -186.3671545232153903, -186.3619822847602165)
PBTXT_FORCES = (-0.3034045420701179663, 0.8405844663871177014, 0.07696947487118485642, 0.7662001266663505117,
                -0.1880601391333554251, -0.6183333871091722944)

# What DeePMD-kit 3.2.0 gives for fparam_aparam.yaml, converted to .pth, and the structure of its test.
PARAMETER_ENERGIES = (-0.10382712237296365, -0.07285433579124989, -0.0946760049226647, -0.14670502074229574,
                      -0.07660561676973243, -0.0727729600025313)


@pytest.fixture(scope="module")
def loaded():
    """Function: the model of a file, read once."""
    models = {}

    def load(name):
        if name not in models:
            models[name] = load_model(SHARED / name)
        return models[name]

    return load


def evaluate(model, types, positions, cell, pbc, compiled, parameters=None):
    pairs = neighbor_pairs(positions, cell, pbc, model.card.rcut)
    return engine(model, compiled=compiled).evaluate(np.asarray(types, dtype=np.int64), pairs, parameters=parameters)


@both_engines
@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("name", ["water_se_e2_a.dp", "water_se_e2_a.pth"])
def test_trained_water(loaded, name, frame, compiled):
    answers = np.load(SHARED / "water_se_e2_a_reference.npz")
    numbers, positions, cell, pbc, energy, forces, virial, atomic = (
        answers[f"{frame}_{part}"] for part in ("numbers", "positions", "cell", "pbc", "energy", "forces", "virial",
                                                "atomic_energy"))
    model = loaded(name)
    types = [model.card.type_map.index(symbol) for symbol in Atoms(numbers).symbols]
    got = evaluate(model, types, positions, cell, pbc, compiled)
    np.testing.assert_allclose(got.energies, atomic.reshape(-1), rtol=0, atol=1e-9)
    assert abs(got.energies.sum() - float(energy.reshape(-1)[0])) < 1e-9 * len(numbers)
    np.testing.assert_allclose(got.forces, forces.reshape(-1, 3), rtol=0, atol=1e-8)
    np.testing.assert_allclose(got.virials.sum(0), virial.reshape(3, 3), rtol=0, atol=1e-8)


def cases(name):
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((SHARED / name).read_text())["results"]


@both_engines
@pytest.mark.parametrize(("name", "answers"), [("deeppot_sea.yaml", "deeppot-testcase.yaml"),
                                               ("deeppot-r.yaml", "deeppot-r-testcase.yaml")])
def test_trees_of_the_reference_tests(loaded, name, answers, compiled):
    for case in cases(answers):
        positions = np.array(case["coord"], float).reshape(-1, 3)
        cell = np.zeros((3, 3)) if case["box"] is None else np.array(case["box"], float).reshape(3, 3)
        got = evaluate(loaded(name), case["atype"], positions, cell, np.full(3, case["box"] is not None), compiled)
        np.testing.assert_allclose(got.energies, np.array(case["atomic_energy"], float), rtol=0, atol=1e-9)
        forces = np.array(case["force"], float).reshape(-1, 3)
        np.testing.assert_allclose(got.forces, forces, rtol=0, atol=1e-8)
        virial = np.array(case["atomic_virial"], float).reshape(-1, 9).sum(0)
        np.testing.assert_allclose(got.virials.sum(0).reshape(-1), virial, rtol=0, atol=1e-8)


@both_engines
def test_frame_and_atomic_parameters(loaded, compiled):
    case = cases("fparam_aparam-testcase.yaml")[0]
    positions, cell = np.array(case["coord"], float).reshape(-1, 3), np.array(case["box"], float).reshape(3, 3)
    parameters = np.column_stack([np.full(len(positions), case["fparam"]), case["aparam"]]).astype(float)
    got = evaluate(loaded("fparam_aparam.yaml"), case["atype"], positions, cell, np.ones(3, bool), compiled, parameters)
    np.testing.assert_allclose(got.energies, PARAMETER_ENERGIES, rtol=0, atol=1e-9)
    # The answers recorded with the file are not those of DeePMD-kit 3.2.0, which are up to 1.7e-8 away from them.
    np.testing.assert_allclose(got.energies, np.array(case["atomic_energy"], float), rtol=0, atol=2e-8)
    np.testing.assert_allclose(got.forces, np.array(case["force"], float).reshape(-1, 3), rtol=0, atol=3e-8)
    virial = np.array(case["atomic_virial"], float).reshape(-1, 9).sum(0)
    np.testing.assert_allclose(got.virials.sum(0).reshape(-1), virial, rtol=0, atol=3e-8)


@both_engines
def test_tensorflow_graph_with_nets_by_pair_of_species(loaded, compiled):
    case = cases("deeppot-testcase.yaml")[0]
    positions, cell = np.array(case["coord"], float).reshape(-1, 3), np.array(case["box"], float).reshape(3, 3)
    got = evaluate(loaded("deeppot.pbtxt"), case["atype"], positions, cell, np.ones(3, bool), compiled)
    np.testing.assert_allclose(got.energies, PBTXT_ENERGIES, rtol=0, atol=1e-9)
    np.testing.assert_allclose(got.forces.reshape(-1)[:6], PBTXT_FORCES, rtol=0, atol=1e-8)


def test_calculator_takes_the_file_as_it_is():
    answers = np.load(SHARED / "water_se_e2_a_reference.npz")
    atoms = Atoms(*(answers[f"triclinic_{part}"] for part in ("numbers", "positions")),
                  cell=answers["triclinic_cell"], pbc=answers["triclinic_pbc"])
    atoms.calc = DeepPotCalculator(SHARED / "water_se_e2_a.pth")
    assert abs(atoms.get_potential_energy() - float(answers["triclinic_energy"].reshape(-1)[0])) < 1e-9 * len(atoms)


def test_card_says_where_the_model_comes_from():
    card = read_card(SHARED / "water_se_e2_a.dp")
    assert card.type_map == ("O", "H")
    assert card.training["imported"] == {
        "software": "DeePMD-kit", "version": "3.2.0", "backend": "PyTorch", "format": "dp", "sel": [46, 92],
        "min_nbor_dist": pytest.approx(0.8854385688525499)}
    assert card.series["error"] < 1e-12
