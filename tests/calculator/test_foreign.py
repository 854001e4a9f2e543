"""The calculator and the commands on DeePMD-kit's files as they are."""

import copy
import pickle
import re
import warnings

import numpy as np
import oracles
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from builders import random_atoms, random_model
from interop import deepmd_files as files

from ase_deeppot import DeepPotCalculator, load_model
from ase_deeppot.cli import main
from ase_deeppot.watch import DomainWarning


def parameters(sel=(30, 31), **options):
    p = oracles.parameters_of(random_model(l_max=1, sel=sel, rcut=3.0, **options))
    return p._replace(mean=np.zeros_like(p.mean), scale=1.0)


@pytest.fixture
def foreign(tmp_path):
    path = tmp_path / "theirs.dp"
    path.write_bytes(files.dp(files.tree(parameters())))
    return path


def test_results_copies_and_pickles(foreign):
    atoms = random_atoms(6, seed=1)
    atoms.calc = DeepPotCalculator(foreign)
    energy, p = atoms.get_potential_energy(), parameters()
    types = np.array([{"H": 0, "O": 1}[symbol] for symbol in atoms.symbols])
    around = oracles.neighbors(atoms.positions, atoms.cell[:], atoms.pbc, p.rcut)
    assert energy == pytest.approx(oracles.atomic_energies(p, types, around).sum(), abs=1e-8)
    foreign.unlink()
    for other in (pickle.loads(pickle.dumps(atoms.calc)), copy.deepcopy(atoms.calc)):
        again = random_atoms(6, seed=1)
        again.calc = other
        assert again.get_potential_energy() == energy


def test_more_neighbors_than_slots_are_told_of_once(tmp_path):
    (tmp_path / "theirs.dp").write_bytes(files.dp(files.tree(parameters(sel=(1, 2)))))
    atoms = random_atoms(8, seed=1)
    atoms.calc = DeepPotCalculator(tmp_path / "theirs.dp")
    with pytest.warns(DomainWarning, match=r"atom \d has \d+ neighbours [HO] within 3 A, more than the [12] .*drops"):
        atoms.get_potential_energy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        atoms.rattle(0.01, seed=0)
        atoms.get_potential_energy()


def test_below_the_reach_of_the_series_is_told(foreign):
    atoms = Atoms("HO", [[0, 0, 0], [0, 0, 0.75]])
    atoms.calc = DeepPotCalculator(foreign)  # min_nbor_dist 1.6 A
    with pytest.warns(DomainWarning, match=r"H-O distance of 0.75 A; energies.*below 0.80 A its series have ended"):
        atoms.get_potential_energy()


def test_one_of_several_tasks(tmp_path):
    path = tmp_path / "tasks.pt"
    path.write_bytes(files.pt({name: files.tree(parameters(seed=seed)) for seed, name in enumerate(("water", "ice"))}))
    energies = []
    for head in ("water", "ice"):
        atoms = random_atoms(6, seed=1)
        atoms.calc = DeepPotCalculator(path, head=head)
        energies.append(atoms.get_potential_energy())
        assert atoms.calc.todict()["head"] == head
    atoms.calc.set(head="water")
    assert atoms.get_potential_energy() == energies[0] != energies[1]


def test_convert_info_and_export(foreign, tmp_path, capsys):
    ours, back = tmp_path / "ours.pth", tmp_path / "back.dp"
    assert main(["info", str(foreign)]) == 0
    told = capsys.readouterr().out
    assert "read from       DeePMD-kit, 3.2.0, PyTorch, dp" in told
    assert "sel             30, 31" in told
    assert main(["convert", str(foreign), str(ours)]) == 0
    assert main(["export", str(ours), str(back)]) == 0
    captured = capsys.readouterr()
    assert f"wrote {ours}" in captured.out
    assert f"wrote {back}" in captured.out
    assert "warning" not in captured.err
    first, second = load_model(foreign).module.state_dict(), load_model(ours).module.state_dict()
    assert all((first[name] == second[name]).all() for name in first)


def test_nets_with_kinks(tmp_path, capsys):
    path, atoms = tmp_path / "theirs.dp", random_atoms(6, seed=1)
    path.write_bytes(files.dp(files.tree(parameters(activation="relu"))))
    assert main(["info", str(path)]) == 0
    assert re.search(r"series +none, its embedding nets \(relu\) are evaluated for every pair: 256 terms would differ",
                     capsys.readouterr().out)
    assert main(["convert", str(path), str(tmp_path / "ours.pth")]) == 0
    assert main(["export", str(tmp_path / "ours.pth"), str(tmp_path / "back.dp")]) == 0
    assert "warning" not in capsys.readouterr().err
    forces = []
    for name in ("theirs.dp", "ours.pth", "back.dp"):
        atoms.calc = DeepPotCalculator(tmp_path / name)
        forces.append(atoms.get_forces())
    np.testing.assert_array_equal(forces[0], forces[1])
    np.testing.assert_array_equal(forces[0], forces[2])


def test_atoms_closer_than_in_the_data_are_told_of_without_a_series(tmp_path):
    (tmp_path / "theirs.dp").write_bytes(files.dp(files.tree(parameters(activation="relu"))))
    atoms = Atoms("HO", [[0, 0, 0], [0, 0, 0.75]])
    atoms.calc = DeepPotCalculator(tmp_path / "theirs.dp")
    with pytest.warns(DomainWarning, match="H-O distance of 0.75 A; energies and forces are extrapolated$"):
        atoms.get_potential_energy()


@pytest.mark.parametrize("kind", ["smooth"])  # local frames have no series, and DeePMD-kit no model like them
def test_export_says_when_the_series_is_not_the_net(model_file, tmp_path, capsys):
    assert main(["export", str(model_file(l_max=1, order=8, sel=(40, 41))), str(tmp_path / "model.dp")]) == 0
    assert "series, which differ from them by" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["local_frame"])
def test_export_refuses_local_frames_in_one_line(model_file, tmp_path, capsys):
    assert main(["export", str(model_file()), str(tmp_path / "model.dp")]) == 2
    told = capsys.readouterr().err
    assert re.search("^deeppot: .*local", told)
    assert told.count("\n") == 1
    assert not (tmp_path / "model.dp").exists()


def test_refusal_is_one_line(tmp_path, capsys):
    path = tmp_path / "theirs.dp"
    path.write_bytes(files.dp(files.tree(parameters(), descriptor={"type": "dpa2"})))
    assert main(["info", str(path)]) == 2
    assert capsys.readouterr().err.startswith(f"deeppot: {path}: its descriptor 'dpa2' (attention and message passing)")


@pytest.fixture
def labelled(tmp_path):
    """Structures with the energies and forces of the foreign model, by its definition; each H counts 0.5 eV more."""
    p, frames = parameters(), []
    for seed in range(4):
        atoms = random_atoms(5 + seed % 2, seed=seed)
        types = np.array([{"H": 0, "O": 1}[symbol] for symbol in atoms.symbols])
        around = oracles.neighbors(atoms.positions, atoms.cell[:], atoms.pbc, p.rcut)
        energy = oracles.atomic_energies(p, types, around).sum() + 0.5 * (types == 0).sum()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=oracles.forces_and_virial(p, types, around)[0])
        frames.append(atoms)
    write(tmp_path / "frames.extxyz", frames)
    return frames


def test_change_bias_and_evaluate(foreign, labelled, tmp_path, capsys):
    frames, moved = str(tmp_path / "frames.extxyz"), str(tmp_path / "moved.pth")
    assert main(["evaluate", str(foreign), frames, "--csv", str(tmp_path / "before.csv")]) == 0
    assert main(["change-bias", str(foreign), frames, "-o", moved]) == 0
    told = capsys.readouterr().out
    assert "H +0.5" in told
    for symbol, shift in (("H", 0.5), ("O", 0.0)):
        atoms = Atoms(symbol, [[0, 0, 0]])
        energies = []
        for model in (foreign, moved):
            atoms.calc = DeepPotCalculator(model)
            energies.append(atoms.get_potential_energy())
        assert energies[1] - energies[0] == pytest.approx(shift, abs=1e-6)
    assert main(["evaluate", moved, frames, "--save", str(tmp_path / "predicted.xyz")]) == 0
    table = capsys.readouterr().out
    errors = {line.split(",")[0]: float(line.split()[-3]) for line in table.splitlines() if line.startswith(
        ("energy,", "forces,"))}
    assert set(errors) == {"energy", "forces"}
    assert max(errors.values()) < 1e-3  # meV; the file holds eight decimals


def test_training_starts_from_it(foreign, labelled, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input.toml").write_text("""
output = "run"
[data]
train = ["frames.extxyz"]
validation = ["frames.extxyz"]
[learning_rate]
optimizer = "adam"
start = 1e-12
stop = 1e-12
[training]
steps = 1
batch_atoms = 6
[monitor]
plot = false
report = false
""")
    assert main(["train", "input.toml", "--init-model", str(foreign)]) == 0
    assert f"starting from {foreign}, a model for H, O; energy bias changed by H +0.5" in capsys.readouterr().out
    for atoms in labelled:
        expected = atoms.get_forces()
        again = atoms.copy()
        again.calc = DeepPotCalculator("run/model.pth")
        np.testing.assert_allclose(again.get_forces(), expected, rtol=0, atol=1e-5)
        assert again.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-5)


def test_training_does_not_start_from_nets_without_a_series(labelled, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs.dp").write_bytes(files.dp(files.tree(parameters(activation="relu"))))
    (tmp_path / "input.toml").write_text('[data]\ntrain = ["frames.extxyz"]\n')
    assert main(["train", "input.toml", "--init-model", "theirs.dp"]) == 2
    assert "got some with relu that are evaluated for every pair" in capsys.readouterr().err
