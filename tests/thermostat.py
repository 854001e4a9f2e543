"""What a Langevin thermostat does to moving atoms."""

import numpy as np
from ase import units
from ase.md.langevin import Langevin


def langevin_temperature(atoms, timestep_fs, temperature_K, friction_fs, warm_up=100, steps=600):
    """Mean temperature over the steps after the first ones, K."""
    temperatures = []
    dynamics = Langevin(atoms, timestep_fs * units.fs, temperature_K=temperature_K, friction=friction_fs / units.fs,
                        fixcm=False, rng=np.random.default_rng(0))
    dynamics.run(warm_up)
    dynamics.attach(lambda: temperatures.append(atoms.get_temperature()), interval=5)
    dynamics.run(steps)
    return np.mean(temperatures)
