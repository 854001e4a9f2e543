"""Molecular dynamics of liquid water with the bundled model; copy this and put in your own atoms and model."""

from ase import units
from ase.io import read
from ase.md import MDLogger
from ase.md.langevin import Langevin

from ase_deeppot import DeepPotCalculator
from ase_deeppot.resources import find

atoms = read(find("examples/data/water_box.extxyz"))  # any periodic or open ASE structure of the model's elements
atoms.calc = DeepPotCalculator("water")  # or DeepPotCalculator("my-model/model.pth")

dynamics = Langevin(atoms, 0.5 * units.fs, temperature_K=300, friction=0.02 / units.fs, fixcm=False,
                    trajectory="water_md.traj", loginterval=20)
dynamics.attach(MDLogger(dynamics, atoms, "-", peratom=True), interval=20)
dynamics.run(400)
