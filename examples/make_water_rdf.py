"""Average the partial g(r) of water over frames: the reference curves in ``data/water_rdf.csv``.

The frames are those of DeePMD-kit's water example, written as extended XYZ; they are not part of this
repository, only the curves are. Needs ASE 3.28: before 3.27 its partial g(r) were normalised otherwise.

    python examples/make_water_rdf.py train.extxyz test.extxyz
"""

import argparse
from itertools import chain
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.geometry.rdf import get_rdf
from ase.io import iread

OUTPUT = Path(__file__).parent / "data" / "water_rdf.csv"
PAIRS = {"g_OO": ("O", "O"), "g_OH": ("O", "H"), "g_HH": ("H", "H")}
BIN_WIDTH = 0.05  # A
HEADER = """\
Partial radial distribution functions of liquid water: {molecules} molecules, mean of {frames} DFT frames
Source of the frames: the water example of DeePMD-kit (github.com/deepmodeling/deepmd-kit), PBE0+TS
Cell: {cell} A. Temperature: not known to us; the O-H bonds spread by 0.027 A, as classical nuclei do
r in A, middle of a bin; counts relative to a density N/V, so like pairs tend to (N - 1)/N
{columns}"""


def main() -> None:
    """Read all frames, average each curve, write the table."""
    parser = argparse.ArgumentParser(description="Average the partial g(r) of water over frames.")
    parser.add_argument("trajectories", nargs="+", type=Path, help="files that ASE reads")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    frames = list(chain.from_iterable(iread(path, ":") for path in arguments.trajectories))
    rmax = BIN_WIDTH * int(min(half_height(frame) for frame in frames) / BIN_WIDTH)
    curves = np.mean([partial_rdfs(frame, rmax) for frame in frames], axis=0)
    table = np.column_stack([BIN_WIDTH * (np.arange(len(curves[0])) + 0.5), *curves])
    np.savetxt(arguments.output, table, fmt=["%.3f"] + ["%.5f"] * 3, delimiter=",", header=header(frames))
    print(f"{arguments.output}: {len(table)} bins up to {rmax:.2f} A, {len(frames)} frames")


def half_height(atoms: Atoms) -> float:
    """Half the smallest distance between opposite faces of the cell: farther out, images are missed."""
    return 0.5 / np.linalg.norm(atoms.cell.reciprocal(), axis=1).max()


def partial_rdfs(atoms: Atoms, rmax: float) -> list[np.ndarray]:
    """One curve a pair of elements, each with the bins' counts over those of an ideal gas."""
    distances = atoms.get_all_distances(mic=True)
    bins = round(rmax / BIN_WIDTH)
    return [get_rdf(atoms, rmax, bins, distances, elements=pair, no_dists=True) for pair in PAIRS.values()]


def header(frames: list[Atoms]) -> str:
    """The lines above the numbers: where they come from, what the columns are."""
    cell = " x ".join(f"{length:.5f}" for length in frames[0].cell.lengths())
    molecules = int(np.count_nonzero(frames[0].numbers == 8))
    return HEADER.format(molecules=molecules, frames=len(frames), cell=cell, columns=",".join(["r", *PAIRS]))


if __name__ == "__main__":
    main()
