"""Evaluate the bundled water model where nothing but the wheel is installed (`make wheel`)."""

from ase.build import molecule

from ase_deeppot import DeepPotCalculator

water = molecule("H2O")
water.calc = DeepPotCalculator("water")
print(f"E = {water.get_potential_energy():.6f} eV")
