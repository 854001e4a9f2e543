"""Whole ASE steps with one calculator, in a process of its own: benchmarks/md_step.py starts one for each contender.

Runs under any Python that has ASE and the package of the calculator. For each line "STEPS" that it reads, it times a
block of so many steps and prints {"seconds": ..., "peak_gb": ...}.
"""

import argparse
import json
import os
import resource
import sys
import warnings
from time import perf_counter
from typing import TextIO

from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.io import read
from ase.md.verlet import VelocityVerlet

STEP = 0.01 * units.fs  # so short that no model, trained or not, leaves the structure it was given


def calculator(options: argparse.Namespace) -> Calculator:
    """The calculator asked for; each package is imported only where it is used."""
    if options.calculator == "deepmd":
        from deepmd.calculator import DP

        return DP(options.model, nlist_backend=options.neighbors)
    from ase_deeppot import DeepPotCalculator

    return DeepPotCalculator(options.model, device=options.device, dtype=options.dtype)


def block(atoms: Atoms, dynamics: VelocityVerlet, steps: int, direction: int) -> float:
    """Seconds for ``steps`` evaluations and what ASE does between them; the first one needs a neighbour search.

    To need one, an atom is moved by a cell vector: the same structure for the model, far beyond any skin.
    """
    atoms.positions[0] += direction * atoms.cell[0]
    start = perf_counter()
    dynamics.run(steps - 1)
    return perf_counter() - start


def peak_gb() -> float:
    """Largest resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def answer(reply: TextIO, **values: float) -> None:
    print(json.dumps(values), file=reply, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("calculator", choices=("deeppot", "deepmd"))
    parser.add_argument("model")
    parser.add_argument("structure")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--dtype", choices=("float64", "float32"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--neighbors", default="vesin", help="DeePMD-kit's way to find them")
    options = parser.parse_args()
    reply = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is not an answer
    warnings.simplefilter("ignore")
    atoms = read(options.structure).repeat(options.repeat)
    atoms.calc = calculator(options)
    dynamics = VelocityVerlet(atoms, timestep=STEP)
    start = perf_counter()
    dynamics.run(1)
    answer(reply, seconds=perf_counter() - start, peak_gb=peak_gb())
    for number, line in enumerate(sys.stdin):
        seconds = block(atoms, dynamics, int(line), -1 if number % 2 else 1)
        answer(reply, seconds=seconds, peak_gb=peak_gb())


if __name__ == "__main__":
    main()
