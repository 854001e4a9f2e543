"""Partial radial distribution functions of water."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ase_deeppot.neighbors import neighbor_pairs
from ase_deeppot.structures import Structure

BIN_WIDTH = 0.05  # A
BINS = 124  # up to 6.2 A, just under half the cell of the 64 molecules
ELEMENTS = {"OO": (8, 8), "OH": (8, 1), "HH": (1, 1)}  # atomic numbers of centre and neighbour


class Rdf(NamedTuple):
    """g(r) of the three pairs of elements, tending to 1 (like pairs to (N - 1)/N)."""

    r: np.ndarray  # [K] A, middle of each bin
    g: dict[str, np.ndarray]  # [K] each, by pair as in ELEMENTS


def mean_rdf(frames: Iterable[Structure]) -> Rdf:
    """Average over frames of water."""
    parts = [_partial_rdfs(frame) for frame in frames]
    r = BIN_WIDTH * (np.arange(BINS) + 0.5)
    return Rdf(r, {pair: np.mean([part[pair] for part in parts], axis=0) for pair in ELEMENTS})


def read_rdf(path: Path) -> Rdf:
    """Read a table with the columns r, g_OO, g_OH, g_HH."""
    r, *curves = np.loadtxt(path, delimiter=",", unpack=True)
    return Rdf(r, dict(zip(ELEMENTS, curves, strict=True)))


def first_peak(rdf: Rdf, pair: str, low: float, high: float) -> tuple[float, float]:
    """Place (A) and height of the highest bin between two distances (A)."""
    between = np.flatnonzero((rdf.r >= low) & (rdf.r <= high))
    peak = between[np.argmax(rdf.g[pair][between])]
    return float(rdf.r[peak]), float(rdf.g[pair][peak])


def _partial_rdfs(frame: Structure) -> dict[str, np.ndarray]:
    """``g_ab(r) = n_ab(r) V / (N_a N_b v(r))``: pairs in a shell of volume v over those of an ideal gas."""
    pairs = neighbor_pairs(frame.positions, frame.cell, frame.pbc, BINS * BIN_WIDTH)
    distances = np.linalg.norm(pairs.vectors, axis=1)
    centres, neighbours = frame.numbers[pairs.i], frame.numbers[pairs.j]
    edges = BIN_WIDTH * np.arange(BINS + 1)
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    curves = {}
    for pair, (a, b) in ELEMENTS.items():
        counts, _ = np.histogram(distances[(centres == a) & (neighbours == b)], edges)
        ideal = np.count_nonzero(frame.numbers == a) * np.count_nonzero(frame.numbers == b) * shells / frame.volume
        curves[pair] = counts / ideal
    return curves
