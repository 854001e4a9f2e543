"""Dynamics with trained models: each in a crystal where its energy is smooth, local frames also where it jumps."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from ase import units
from ase.md.melchionna import MelchionnaNPT
from ase.md.nose_hoover_chain import MTKNPT, IsotropicMTKNPT
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from builders import pairs_in, types_in
from thermostat import langevin_temperature

from ase_deeppot import DeepPotCalculator, load_model
from ase_deeppot.potential.descriptor import Structures


@pytest.fixture
def warm(crystal):
    """Function: a block of the crystal with velocities of some temperature (half of it goes into the potential)."""
    def make(repeat=2, temperature_K=600, **options):
        atoms = crystal.atoms * (repeat, repeat, repeat)
        atoms.calc = DeepPotCalculator(crystal.model, **options)
        thermalize_momenta(atoms, temperature_K=temperature_K, exact_temperature=True, rng=np.random.default_rng(3))
        Stationary(atoms)
        return atoms
    return make


def total_energies(atoms, steps, timestep_fs):
    """Total energy per atom at each step, eV; the kinetic part must stay that of a warm crystal."""
    energies, temperatures = [], []

    def look():
        energies.append(atoms.get_total_energy())
        temperatures.append(atoms.get_temperature())

    dynamics = VelocityVerlet(atoms, timestep_fs * units.fs)
    dynamics.attach(look, interval=1)
    dynamics.run(steps)
    assert 150 < np.mean(temperatures) < 600
    return np.array(energies) / len(atoms)


def drift(energies, timestep_fs):
    """Slope of a straight line through the total energy, eV per atom and ps."""
    return np.polyfit(np.arange(len(energies)) * timestep_fs * 1e-3, energies, 1)[0]


def check_nve(atoms, picoseconds, timestep_fs=5.0):
    energies = total_energies(atoms, int(1000 * picoseconds / timestep_fs), timestep_fs)
    assert energies.std() < 3e-4
    assert abs(drift(energies, timestep_fs)) * picoseconds < 1e-4


def test_nve_conserves_the_energy(warm):
    """10 ps of 4 atoms that see their own images."""
    check_nve(warm(repeat=1), 10)


@pytest.mark.slow
def test_nve_conserves_the_energy_of_a_larger_block(warm):
    check_nve(warm(repeat=3), 10)


def test_energy_fluctuations_fall_with_the_square_of_the_timestep(warm):
    """So what is left is Verlet's error, not noise or a discontinuity of the forces."""
    coarse, fine = (total_energies(warm(), int(400 / dt), dt).std() for dt in (8.0, 4.0))
    assert 2.5 < coarse / fine < 6.0


def test_nve_in_float32(warm):
    energies = total_energies(warm(dtype="float32"), 100, 4.0)
    assert energies.std() < 2e-4


@pytest.mark.parametrize("skin", [0.5, 2.0])
def test_skin_does_not_change_the_trajectory(warm, skin):
    with_skin, without = warm(skin=skin), warm(skin=0)
    for atoms in (with_skin, without):
        VelocityVerlet(atoms, 4 * units.fs).run(40)
    np.testing.assert_allclose(with_skin.positions, without.positions, atol=1e-10)
    np.testing.assert_allclose(with_skin.get_velocities(), without.get_velocities(), atol=1e-10)


def test_langevin_holds_the_temperature(warm):
    # sigma(T)/T = sqrt(2/96) = 0.14 for one configuration; some 30 independent ones leave 0.03
    assert langevin_temperature(warm(repeat=2, temperature_K=300), 5, 300, 0.02) == pytest.approx(300, rel=0.1)


def test_npt_holds_temperature_and_pressure(warm):
    atoms, temperatures, pressures = warm(repeat=2, temperature_K=600), [], []
    atoms.set_cell(atoms.cell * 1.01, scale_atoms=True)
    volume = atoms.get_volume()
    dynamics = IsotropicMTKNPT(atoms, 4 * units.fs, temperature_K=300, pressure_au=0.0, tdamp=80 * units.fs,
                               pdamp=300 * units.fs)

    def look():
        temperatures.append(atoms.get_temperature())
        pressures.append(-np.trace(atoms.get_stress(voigt=False, include_ideal_gas=True)) / 3)

    dynamics.run(150)
    dynamics.attach(look, interval=3)
    dynamics.run(600)
    assert np.mean(temperatures) == pytest.approx(300, rel=0.15)
    assert abs(np.mean(pressures)) < 0.5 * units.GPa
    assert atoms.get_volume() < volume  # the stretched block shrank


@pytest.mark.parametrize("ensemble", ["MTKNPT", "MelchionnaNPT"])
def test_npt_with_a_flexible_cell_runs_and_stays_a_crystal(warm, crystal, ensemble):
    atoms = warm(repeat=2, temperature_K=200)
    if ensemble == "MTKNPT":
        dynamics = MTKNPT(atoms, 4 * units.fs, temperature_K=100, pressure_au=0.0, tdamp=80 * units.fs,
                          pdamp=400 * units.fs)
    else:
        atoms.set_cell(atoms.cell.standard_form()[0], scale_atoms=True)
        dynamics = MelchionnaNPT(atoms, 4 * units.fs, temperature_K=100, externalstress=0.0, ttime=80 * units.fs,
                                 pfactor=(300 * units.fs) ** 2 * 140 * units.GPa)
    dynamics.run(200)
    assert atoms.get_volume() / len(atoms) == pytest.approx(crystal.atoms.get_volume() / 4, rel=0.06)
    assert 30 < atoms.get_temperature() < 300
    np.testing.assert_allclose(atoms.cell.angles(), crystal.atoms.cell.angles(), atol=3.0)


def test_langevin_with_local_frames(alcohol_model, ethanol):
    """Jumps of the energy heat a molecule, and a thermostat takes the heat away."""
    atoms = ethanol
    heavy = atoms.numbers > 1
    counts = heavy[:, None] | heavy[None, :]  # two hydrogens of a methyl group are near each other too
    bonds = counts & (atoms.get_all_distances() < 1.7)
    atoms.calc = DeepPotCalculator(alcohol_model)
    assert langevin_temperature(atoms, 0.5, 200, 0.05, warm_up=300, steps=500) == pytest.approx(200, rel=0.35)
    np.testing.assert_array_equal(counts & (atoms.get_all_distances() < 1.7), bonds)


def arrangement(model, atoms):
    """Which atom is in which slot, and which are the axes, of each atom: [N, S + 2], -1 for none."""
    pairs = pairs_in(model, atoms)
    structures = Structures(*map(torch.from_numpy, (types_in(model, atoms), pairs.i, pairs.j, pairs.vectors)))
    order = model.module.descriptor.geometry().environment(structures).order.numpy()
    first = np.searchsorted(pairs.i, np.arange(len(atoms)))[:, None]
    return np.append(pairs.j, -1)[np.where(order >= 0, first + order, len(pairs.j))]


def test_nve_with_local_frames_loses_energy_at_jumps_only(alcohol_model, ethanol):
    """In steps that leave the order of neighbours as it is the energy is Verlet's; in the others it jumps."""
    atoms, model, energies, arrangements = ethanol, load_model(alcohol_model), [], []
    atoms.calc = DeepPotCalculator(alcohol_model)
    thermalize_momenta(atoms, temperature_K=300, rng=np.random.default_rng(3))
    dynamics = VelocityVerlet(atoms, 0.1 * units.fs)
    dynamics.attach(lambda: energies.append(atoms.get_total_energy()))
    dynamics.attach(lambda: arrangements.append(arrangement(model, atoms)))
    dynamics.run(300)
    changes = np.diff(energies)
    jumps = np.array([(one != other).any() for one, other in pairwise(arrangements)])
    assert 5 < jumps.sum() < 150
    assert abs(changes[jumps]).max() > 30 * abs(changes[~jumps]).max()
    assert abs(np.cumsum(changes[~jumps])).max() < 1e-3 < abs(np.cumsum(changes)).max()
