"""Dynamics by LAMMPS in one, two and four processes: the calculator's numbers, whatever the processes."""

import re
from pathlib import Path

import numpy as np
import pytest
from lammps_systems import COMPUTES, PRINT_FRAME, read_frame, write_water

from ase_deeppot import DeepPotCalculator

START = """
units metal
atom_style atomic
read_data water.data
{box}
pair_style deeppot ${{model}}
pair_coeff * * O H
""" + COMPUTES + "\nthermo 10\nneighbor 0.3 bin\n"  # a thin halo: LAMMPS moves atoms between processes often

LIQUID = START.format(box="") + """
variable frame string rest
""" + PRINT_FRAME + """
velocity all create 400 4928459 mom yes rot yes dist gaussian
timestep 0.0005
fix nve all nve
run 60
variable frame string nve
""" + PRINT_FRAME

# Tilted, in LAMMPS's sense of newton off, with all thermostats of a barostat.
TILTED = "\nclear\nnewton off\n" + START.format(
    box="change_box all triclinic\nchange_box all xy final 1.5 xz final -0.8 yz final 0.6 remap units box") + """
velocity all create 300 90211 mom yes rot yes dist gaussian
timestep 0.0005
fix npt all npt temp 300 300 0.05 tri 0 0 0.5
run 40
variable frame string npt
""" + PRINT_FRAME

# A slab at the bottom of a long box, cut along it: most processes have no atoms, some no ghosts either.
SLAB = "\nclear\nprocessors 1 1 *\n" + START.format(box="change_box all z final 0 200 units box") + """
variable frame string slab
""" + PRINT_FRAME + """
fix nve all nve
run 5
label several
variable again loop 2
run 1
next again
jump SELF several
"""

# Minimized with the box, the atoms balanced in domains of unequal size, and read again from a restart file.
RELAXED = "\nclear\nprocessors * * *\ncomm_style tiled\n" + START.format(box="balance 1.0 rcb") + """
fix balance all balance 3 1.0 rcb
fix relax all box/relax aniso 0.0 vmax 0.002
minimize 0 0 8 20
write_restart relaxed.restart
clear
read_restart relaxed.restart
pair_style deeppot ${model}
pair_coeff * * O H
""" + COMPUTES + """
variable frame string relaxed
""" + PRINT_FRAME

FRAMES = ("rest", "nve", "npt", "slab", "relaxed")
COUNTS = 1, 4, pytest.param(2, marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def runs(mpirun, tmp_path_factory):
    """Function: folder and log of the three systems in so many processes."""
    done = {}

    def run(processes):
        if processes not in done:
            folder = tmp_path_factory.mktemp(f"np{processes}")
            write_water(folder)
            (folder / "in.lammps").write_text(LIQUID + TILTED + SLAB + RELAXED)
            mpirun(processes, "-m", "ase_deeppot.cli", "lammps", "in.lammps", "--dtype", "float64", "--", "-var",
                   "model", "water", "-screen", "none", cwd=folder)
            done[processes] = folder, (folder / "log.lammps").read_text()
        return done[processes]

    return run


def thermo(log, run):
    """Table of one run, as columns by name."""
    blocks = re.findall(r"^ *(Step .*?)^Loop time", log, re.MULTILINE | re.DOTALL)
    lines = blocks[run].strip().splitlines()
    return dict(zip(lines[0].split(), np.array([line.split() for line in lines[1:]], float).T, strict=True))


@pytest.mark.parametrize("processes", COUNTS)
@pytest.mark.parametrize("name", FRAMES)
def test_numbers_of_the_calculator(runs, name, processes):
    frame = read_frame(runs(processes)[0], name)
    frame.atoms.calc = DeepPotCalculator("water", dtype="float64")
    volume = frame.atoms.get_volume()
    np.testing.assert_allclose(frame.forces, frame.atoms.get_forces(), rtol=0, atol=1e-10)
    np.testing.assert_allclose(frame.energies, frame.atoms.get_potential_energies(), rtol=1e-12)
    assert frame.energy == pytest.approx(frame.atoms.get_potential_energy(), rel=1e-13)
    np.testing.assert_allclose(frame.virial, -volume * frame.atoms.get_stress(), rtol=0, atol=1e-8)
    np.testing.assert_allclose(frame.virials, -volume * frame.atoms.get_stresses(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("processes", COUNTS[1:])
@pytest.mark.parametrize("name", FRAMES)
def test_the_same_dynamics_in_any_number_of_processes(runs, name, processes):
    one, several = read_frame(runs(1)[0], name), read_frame(runs(processes)[0], name)
    np.testing.assert_allclose(several.forces, one.forces, rtol=0, atol=1e-10)
    np.testing.assert_allclose(several.atoms.cell[:], one.atoms.cell[:], rtol=1e-11)


@pytest.mark.parametrize("processes", COUNTS)
def test_what_was_asked_of_the_runs(runs, processes):
    """Energy is conserved, the box changed, atoms went from process to process, sums of atoms are totals."""
    folder, log = runs(processes)
    nve = thermo(log, 1)
    assert np.ptp(nve["TotEng"]) < 0.02 * np.ptp(nve["KinEng"])
    assert np.ptp(nve["KinEng"]) > 1.0
    np.testing.assert_allclose(nve["c_sum[1]"], nve["PotEng"], rtol=1e-12)
    builds = [int(number) for number in re.findall(r"Neighbor list builds = (\d+)", log)]
    assert max(builds) > 3
    assert read_frame(folder, "relaxed").energy < read_frame(folder, "rest").energy - 1.0
    tilted = read_frame(folder, "npt").atoms.cell[:]
    assert abs(tilted[1, 0] - 1.5) > 1e-3
    assert "Nlocal:" in log


def test_processes_without_atoms(runs):
    """The slab leaves at least two of four processes empty."""
    _, log = runs(4)
    fewest = re.findall(r"Nlocal: .* (\d+) min", log)
    assert "0" in fewest


def test_forces_from_a_wide_halo(runs, mpirun):
    """Another way to the same forces, without sending any; see wide_halo.py."""
    folder, _ = runs(4)
    mpirun(2, Path(__file__).with_name("wide_halo.py"), "water.data", "wide.npy", cwd=folder)
    wide, ours = np.load(folder / "wide.npy"), read_frame(folder, "rest")
    np.testing.assert_allclose(ours.forces, wide[:, 2:], rtol=0, atol=1e-10)
    np.testing.assert_allclose(ours.energies, wide[:, 1], rtol=1e-12)
