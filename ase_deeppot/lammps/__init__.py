"""Molecular dynamics by LAMMPS, in as many MPI processes as wanted, with the forces of a Deep Potential.

LAMMPS owns atoms, ghost atoms, integrators, thermostats, barostats, dumps and restarts. In every process its fix
``external`` calls us once a step:

script     the input file: ``pair_style deeppot`` and ``pair_coeff * * O H`` become commands that LAMMPS has
launch     run an input file in all processes
attach     put a model into a LAMMPS that is running; what is required of it
forces     one step: neighbours, model, forces
ghosts     what ghost atoms got goes to the atoms they are images of, by MPI
unified    the model for ``pair_style mliap unified`` instead, where LAMMPS was built with that
"""

from ase_deeppot.lammps.attach import attach
from ase_deeppot.lammps.launch import run
from ase_deeppot.lammps.unified import UnifiedPotential

__all__ = ["UnifiedPotential", "attach", "run"]
