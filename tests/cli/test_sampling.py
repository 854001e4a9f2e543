"""``deeppot sample``: structures by dynamics, labelled by models."""

import numpy as np
import pytest
from ase import units
from ase.build import bulk, molecule
from ase.calculators.calculator import InputError
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.io import read, write
from ase.md.verlet import VelocityVerlet
from runs import deeppot, error_of

from ase_deeppot import DeepPotCalculator
from ase_deeppot.bonds import species_names
from ase_deeppot.errors import ConfigError
from ase_deeppot.sampling import SamplingConfig, sample
from ase_deeppot.sampling.dynamics import draw
from ase_deeppot.structures import from_atoms

SHORT = ("--temperature", 300, "--structures", 6, "--time", 3, "--interval", 1)


@pytest.fixture
def starts(tmp_path):
    """Cells of copper of two sizes, one of them held, and an atom on its own."""
    images = [bulk("Cu", a=3.7, cubic=True) * (1, 1, n) for n in (1, 2)]
    images[0].set_constraint(FixAtoms([0, 1, 2, 3]))
    write(tmp_path / "starts.traj", [*images, bulk("Cu", a=20.0)])
    return tmp_path / "starts.traj"


@pytest.fixture
def models(model_file):
    """Two models of copper that differ."""
    return [model_file(type_map=("Cu",), seed=seed) for seed in (1, 2)]


def test_structures_have_what_the_models_say(starts, models, tmp_path, capsys):
    status, out, err = deeppot(capsys, "sample", *models, "--start", starts, *SHORT, "--apart", 1e3, "-o",
                               tmp_path / "s.xyz")
    assert (status, err) == (0, "")
    assert out.startswith("6 structures, 0 of 2 trajectories ended early; ")
    frames, calculator = read(tmp_path / "s.xyz", ":"), DeepPotCalculator(models)
    assert sorted(map(len, frames)) == [4, 4, 4, 8, 8, 8]
    for atoms in frames:
        moved = atoms.positions - (bulk("Cu", a=3.7, cubic=True) * (1, 1, len(atoms) // 4)).positions
        assert np.linalg.norm(moved, axis=1).min() > 1e-4  # those that are held too
        assert atoms.get_potential_energy() == pytest.approx(calculator.get_potential_energy(atoms), abs=1e-6)
        np.testing.assert_allclose(atoms.get_forces(), calculator.get_forces(atoms), atol=1e-6)
        np.testing.assert_allclose(atoms.get_stress(), calculator.get_stress(atoms), atol=1e-6)
        np.testing.assert_allclose(atoms.arrays["forces_deviation"], calculator.deviation.forces, atol=1e-6)
    largest = [atoms.arrays["forces_deviation"].max() for atoms in frames]
    assert f"{np.median(largest):.3f} eV/A apart (median), {max(largest):.3f} at most" in out


def test_the_same_seed_gives_the_same_structures(starts, models, tmp_path, capsys):
    texts = []
    for seed in (1, 1, 2):
        deeppot(capsys, "sample", models[0], "--start", starts, *SHORT, "--seed", seed, "-o", tmp_path / "s.xyz")
        texts.append((tmp_path / "s.xyz").read_bytes())
    assert texts[0] == texts[1] != texts[2]


def test_another_model_moves_the_atoms(starts, models, tmp_path, capsys):
    """Without friction it is dynamics at constant energy, which ASE has too."""
    deeppot(capsys, "sample", models[0], "--moving", models[1], "--start", f"{starts}@:1", *SHORT, "--structures", 3,
            "--friction", 0, "-o", tmp_path / "s.xyz")
    atoms, rng = bulk("Cu", a=3.7, cubic=True), np.random.default_rng([1, 0])
    atoms.set_momenta(np.sqrt(units.kB * 300 * atoms.get_masses())[:, None] * rng.standard_normal((4, 3)))
    atoms.calc = DeepPotCalculator(models[1])
    VelocityVerlet(atoms, 0.5 * units.fs).run(6)
    last = read(tmp_path / "s.xyz", "-1")
    np.testing.assert_allclose(last.positions, atoms.positions, atol=1e-6)
    energy = DeepPotCalculator(models[0]).get_potential_energy(atoms)
    assert last.get_potential_energy() == pytest.approx(energy, abs=1e-5)
    assert abs(energy - atoms.get_potential_energy()) > 1e-3


def test_velocities_are_those_of_the_temperature(models):
    atoms = bulk("Cu", cubic=True) * (4, 4, 4)
    config = SamplingConfig(temperature=500, structures=1, time=0.1, interval=0.1, timestep=0.1)
    (trajectory,) = sample([atoms], DeepPotCalculator(models[0]), config)
    moved = (trajectory.frames[0].positions - atoms.positions) / (0.1 * units.fs)
    temperature = np.mean(atoms.get_masses()[:, None] * moved**2) / units.kB
    assert temperature == pytest.approx(500, rel=0.15)  # 768 squares: a standard deviation of 5 %


def test_any_calculator_gives_labels():
    """A learner of other models: of EMT here, in a crystal and, where there is no stress, in a cluster."""
    crystal = bulk("Cu", cubic=True)
    cluster = crystal.copy()
    cluster.pbc, cluster.cell = False, None
    config = SamplingConfig(temperature=300, structures=4, time=2, interval=1)
    for trajectory, stressed in zip(sample([crystal, cluster], EMT(), config), (True, False), strict=True):
        assert (len(trajectory.frames), trajectory.complete) == (2, True)
        for atoms in trajectory.frames:
            energy, forces = atoms.get_potential_energy(), atoms.get_forces()
            assert ("stress" in atoms.calc.results, "forces_deviation" in atoms.arrays) == (stressed, False)
            atoms.calc = EMT()
            assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
            np.testing.assert_allclose(forces, atoms.get_forces(), atol=1e-9)


def test_dynamics_ends_where_models_are_apart(starts, models, tmp_path, capsys):
    command = ("sample", *models, "--start", starts, *SHORT, "--time", 30, "--structures", 60)
    deeppot(capsys, *command, "--apart", 1e3, "-o", tmp_path / "all.xyz")
    largest = [atoms.arrays["forces_deviation"].max() for atoms in read(tmp_path / "all.xyz", ":")]
    trusted = float(np.median(largest))
    status, out, _ = deeppot(capsys, *command, "--apart", trusted, "-o", tmp_path / "some.xyz")
    kept = read(tmp_path / "some.xyz", ":")
    assert (status, f"{len(kept)} structures" in out, "0 of 2" in out) == (0, True, False)
    assert 0 < len(kept) < 60
    assert max(atoms.arrays["forces_deviation"].max() for atoms in kept) <= trusted
    message = error_of(capsys, *command, "--apart", 1e-9, "-o", tmp_path / "some.xyz")
    assert message.startswith("expected structures, got none: 2 of 2 trajectories ended early")
    assert len(read(tmp_path / "some.xyz", ":")) == len(kept)  # what was there is still there


def test_what_was_found_before_an_interrupt_is_kept(starts, models, tmp_path, capsys, monkeypatch):
    from ase_deeppot.sampling import dynamics
    trajectory, calls = dynamics._trajectory, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return trajectory(*arguments)

    monkeypatch.setattr(dynamics, "_trajectory", interrupted)
    command = ("sample", models[0], "--start", starts, *SHORT, "-o", tmp_path / "s.xyz")
    status, out, _ = deeppot(capsys, *command)
    assert (status, out.startswith("3 structures until interrupted, 0 of 1 ")) == (130, True)
    assert len(read(tmp_path / "s.xyz", ":")) == 3
    (tmp_path / "s.xyz").unlink()
    calls[:] = [()]  # now the first
    assert deeppot(capsys, *command)[0] == 130
    assert not (tmp_path / "s.xyz").exists()


def test_starts_that_cannot_be_used(models, model_file, tmp_path, capsys):
    write(tmp_path / "gold.traj", [bulk("Au", cubic=True)])
    write(tmp_path / "atom.traj", [bulk("Cu")])
    command = ("sample", *models, *SHORT, "-o", tmp_path / "s.xyz", "--start")
    message = error_of(capsys, *command, tmp_path / "gold.traj")
    assert message == f"{tmp_path}/gold.traj frame 0: expected elements of the model (Cu), got Au"
    message = error_of(capsys, *command, tmp_path / "atom.traj")
    assert message == f"expected structures of several atoms to start from, got none in {tmp_path}/atom.traj"
    command = ("sample", model_file(type_map=("Cu",), frame_parameters=1), *SHORT, "-o", tmp_path / "s.xyz", "--start")
    write(tmp_path / "copper.traj", [bulk("Cu", cubic=True)])
    assert error_of(capsys, *command, tmp_path / "copper.traj").startswith("expected models without frame or atom")
    assert not (tmp_path / "s.xyz").exists()


@pytest.mark.parametrize(("changes", "message"), [
    ({"temperature": 0.0}, "expected 0 < temperature < inf, got 0.0"),
    ({"structures": 0}, "expected structures > 0, got 0"),
    ({"interval": 300.0}, "expected timestep <= interval <= time, got 0.5, 300, 200 fs"),
    ({"timestep": 20.0}, "expected timestep <= interval <= time, got 20, 10, 200 fs"),
])
def test_settings_that_cannot_be(changes, message):
    with pytest.raises(ConfigError, match="^" + message.replace("(", r"\(") + "$"):
        SamplingConfig(**({"temperature": 300.0} | changes))


def test_each_start_is_taken_before_one_is_taken_again():
    config = SamplingConfig(temperature=300.0, structures=140, time=200.0, interval=10.0)
    assert sorted(draw(7, config)) == list(range(7))
    assert len(set(draw(100, config))) == 7
    assert sorted(np.bincount(draw(3, config))) == [2, 2, 3]


def test_a_molecule_that_reacts_ends_its_trajectory(model_file, tmp_path):
    """And one that is none of the model's ends all."""
    ethanol = molecule("CH3CH2OH")
    names = sorted(set(species_names(from_atoms(ethanol), 1)))
    bonded = DeepPotCalculator(model_file(type_map=tuple(names)))
    hot = SamplingConfig(temperature=30_000, structures=40, time=20.0, interval=1.0)
    found = list(sample([ethanol, ethanol], bonded, hot))
    assert [one.complete for one in found] == [False, False]
    assert all(species_names(from_atoms(frame), 1) == species_names(from_atoms(ethanol), 1)
               for one in found for frame in one.frames)
    assert sum(len(one.frames) for one in found) > 0
    with pytest.raises(InputError, match="expected species of the model"):
        list(sample([molecule("CH3OCH3")], bonded, hot))
