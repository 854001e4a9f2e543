"""Time the neighbour search against ASE, matscipy and vesin, and the reuse of a Verlet list; one thread each.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/neighbors.py [--large] [--repeats 9]

Everybody returns the full list of i, j, S and D (vesin twice: as it comes, and sorted by i as the others are).
The figures are medians of the processor time of this process, which would count further threads too; repeats
are interleaved (but for ASE), so that a busy machine slows all alike.
"""

import argparse
import importlib.metadata
import os
import platform
from collections.abc import Callable
from time import process_time
from typing import NamedTuple

import numpy as np

from ase_deeppot.neighbors import VerletList, neighbor_pairs

CUTOFF = 6.0  # A
SKIN = 1.0  # A
DENSITY = 0.1  # atoms/A^3, as in water
PBC = np.array([True, True, True])
CONTENDERS = ("ours", "vesin", "vesin sorted", "matscipy", "ase")


class System(NamedTuple):
    """A fully periodic structure."""

    positions: np.ndarray  # [N, 3] float64, A
    cell: np.ndarray  # [3, 3] float64, A


def jittered_lattice(atoms: int, skewed: bool, seed: int = 0) -> System:
    """Atoms in random order near random sites of a grid, no two of them close."""
    rng = np.random.default_rng(seed)
    cell = np.array([[1.0, 0, 0], [0.45, 1, 0], [-0.4, 0.35, 1]]) if skewed else np.eye(3)
    cell *= (atoms / DENSITY) ** (1 / 3)
    side = int(np.ceil(atoms ** (1 / 3)))
    sites = rng.permutation(np.indices((side,) * 3).reshape(3, -1).T)[:atoms]
    return System((sites + rng.uniform(0.2, 0.8, sites.shape)) / side @ cell, cell)


def search_of(contender: str, system: System, ase_limit: int) -> Callable[[], object] | str:
    """A call that searches once, or the reason why there is none."""
    positions, cell = system
    try:
        if contender.startswith("vesin"):
            from vesin import NeighborList

            vesin = NeighborList(cutoff=CUTOFF, full_list=True, sorted=contender == "vesin sorted", n_threads=1)
            return lambda: vesin.compute(points=positions, box=cell, periodic=True, quantities="ijSD")
        if contender == "matscipy":
            from matscipy.neighbours import neighbour_list

            return lambda: neighbour_list("ijSD", cutoff=CUTOFF, positions=positions, cell=cell, pbc=PBC)
        if contender == "ase":
            from ase.neighborlist import primitive_neighbor_list

            if len(positions) > ase_limit:
                return "skipped"
            return lambda: primitive_neighbor_list("ijSD", PBC, cell, positions, CUTOFF)
    except ImportError:
        return "not installed"

    def ours() -> object:
        pairs = neighbor_pairs(positions, cell, PBC, CUTOFF)
        return pairs, pairs.shifts

    return ours


def medians(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median processor time of each call in seconds; all are called in turn, once unmeasured."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            start = process_time()
            call()
            times[name].append(process_time() - start)
    return {name: float(np.median(measured[1:])) for name, measured in times.items()}


def reuse(system: System, repeats: int) -> float:
    """Median processor time in seconds of an update that needs no search."""
    verlet = VerletList(CUTOFF, SKIN)
    rng = np.random.default_rng(1)
    moved = system.positions + rng.uniform(-0.25, 0.25, system.positions.shape) * SKIN
    verlet.update(system.positions, system.cell, PBC)
    time = medians({"reuse": lambda: verlet.update(moved, system.cell, PBC)}, repeats)["reuse"]
    if verlet.builds != 1:
        raise RuntimeError("expected no search while the atoms moved less than half the skin")
    return time


def row(system: System, ase_limit: int, repeats: int) -> str:
    """One line of the table."""
    calls = {name: search_of(name, system, ase_limit) for name in CONTENDERS}
    ready = {name: call for name, call in calls.items() if not isinstance(call, str)}
    slow = {name: ready.pop(name) for name in ("ase",) if name in ready}  # would empty the caches for the others
    times = medians(ready, repeats) | medians(slow, 3)
    atoms = len(system.positions)
    columns = [
        f"{times[name] * 1e3:8.2f} ({times[name] / times['ours']:5.2f})" if name in times else f"{calls[name]:>16}"
        for name in CONTENDERS
    ]
    update = reuse(system, repeats)
    return " ".join([*columns, f"{times['ours'] / atoms * 1e6:8.2f}", f"{update / atoms * 1e6:8.2f}"])


def describe_machine() -> str:
    """Processor and versions, one line."""
    packages = []
    for name in ("numpy", "scipy", "ase", "matscipy", "vesin"):
        try:
            packages.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            packages.append(f"{name} not installed")
    return f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, {', '.join(packages)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", action="store_true", help="add 98,304 atoms")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--ase-limit", type=int, default=1536, help="largest structure that ASE is asked for")
    options = parser.parse_args()
    np.ones(4_000_000)  # once allocated and freed, malloc keeps arrays of this size instead of unmapping each
    print(describe_machine())
    print(f"rcut {CUTOFF} A, {DENSITY} atoms/A^3, skin {SKIN} A; ms (ratio to ours); search and reuse in us/atom")
    titles = " ".join(f"{name:>16}" for name in CONTENDERS)
    print(f"{'atoms':>7} {'cell':>6} {titles} {'search':>8} {'reuse':>8}")
    for atoms in (192, 1536, 12288, *([98304] if options.large else [])):
        for skewed in (False, True):
            line = row(jittered_lattice(atoms, skewed), options.ase_limit, options.repeats)
            print(f"{atoms:7d} {'skewed' if skewed else 'cubic':>6} {line}", flush=True)


if __name__ == "__main__":
    main()
