"""Local frames in a crystal without symmetry, in place of copper, whose neighbours are equally far from each other.

What follows from derivatives alone holds as it does for a smooth model, and a thermostat takes away the heat of jumps.
Tried, and does not hold: zero pressure by MTK's, Melchionna's or the isotropic Berendsen barostat (the volume ran
away); relaxation of the cell; phonons as EMT's (some were imaginary); a conserved energy in the steps between jumps.
"""

import numpy as np
import pytest
from ase import units
from ase.calculators.fd import calculate_numerical_stress
from ase.md.nptberendsen import NPTBerendsen
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS, FIRE, LBFGS
from thermostat import langevin_temperature

from ase_deeppot import DeepPotCalculator


@pytest.fixture
def still(alloy, alloy_model):
    alloy.calc = DeepPotCalculator(alloy_model)
    return alloy


@pytest.fixture
def moving(alloy, alloy_model):
    """Function: the crystal with velocities of some temperature."""
    def make(temperature_K=200, **options):
        atoms = alloy.copy()
        atoms.calc = DeepPotCalculator(alloy_model, **options)
        thermalize_momenta(atoms, temperature_K=temperature_K, exact_temperature=True, rng=np.random.default_rng(3))
        Stationary(atoms)
        return atoms
    return make


class TestDynamics:
    def test_skin_does_not_change_the_trajectory(self, moving):
        with_skin, without = moving(skin=0.5), moving(skin=0)
        for atoms in (with_skin, without):
            VelocityVerlet(atoms, 2 * units.fs).run(40)
        np.testing.assert_allclose(with_skin.positions, without.positions, atol=1e-9)

    def test_float32_follows_float64(self, moving):
        exact, rounded = moving(), moving(dtype="float32")
        for atoms in (exact, rounded):
            VelocityVerlet(atoms, 2 * units.fs).run(20)
        assert 0 < abs(rounded.positions - exact.positions).max() < 1e-3

    def test_langevin_holds_the_temperature(self, moving):
        assert langevin_temperature(moving(), 3, 200, 0.03) == pytest.approx(200, rel=0.25)

    def test_pressure_asked_for_makes_it_smaller(self, moving):
        """Than it was, by about 10 GPa over the bulk modulus, and than without pressure, where it grows."""
        volumes = []
        for pressure in (0.0, 10 * units.GPa):
            atoms = moving(100)
            NPTBerendsen(atoms, 3 * units.fs, temperature_K=200, pressure_au=pressure, taut=60 * units.fs,
                         taup=100 * units.fs, compressibility_au=1.0).run(150)
            volumes.append(atoms.get_volume())
        assert 0.88 < volumes[1] / moving().get_volume() < 0.98
        assert volumes[1] < 0.95 * volumes[0]


@pytest.mark.parametrize("optimizer", [BFGS, LBFGS, FIRE])
def test_relaxation_to_what_jumps_allow(still, optimizer):
    still.rattle(0.1, seed=0)
    energy, force = still.get_potential_energy(), abs(still.get_forces()).max()
    optimizer(still, logfile=None).run(fmax=0.1 * force, steps=200)
    assert abs(still.get_forces()).max() < 0.2 * force
    assert still.get_potential_energy() < energy - 0.1


def test_stress_is_the_derivative_by_strain(still):
    still.rattle(0.05, seed=4)
    expected = calculate_numerical_stress(still, 1e-5)
    assert abs(expected).max() > 1e-3
    np.testing.assert_allclose(still.get_stress(), expected, atol=1e-6)
