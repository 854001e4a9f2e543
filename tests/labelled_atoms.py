"""Structures with random labels, and files of them."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import write

from ase_deeppot.errors import DataError
from ase_deeppot.fitting.frames import Frame
from ase_deeppot.fitting.labels import KeyMapping
from ase_deeppot.fitting.sources import read_frames

FORMATS = ("extxyz", "traj", "db", "json")


def random_atoms(rng: np.random.Generator, size: int = 3, periodic: bool = True) -> Atoms:
    cell = 4 * np.eye(3) + rng.normal(size=(3, 3), scale=0.3)
    return Atoms(rng.choice([1, 8], size), rng.uniform(size=(size, 3)) @ cell,
                 cell=cell if periodic else None, pbc=periodic)


def labelled(atoms: Atoms, rng: np.random.Generator, *properties: str) -> Atoms:
    values = {"energy": float(rng.normal()), "free_energy": float(rng.normal()),
              "forces": rng.normal(size=(len(atoms), 3)), "stress": rng.normal(size=6, scale=0.1)}
    atoms.calc = SinglePointCalculator(atoms, **{name: values[name] for name in properties})
    return atoms


def dataset(count: int, *properties: str, seed: int = 0) -> list[Atoms]:
    rng = np.random.default_rng(seed)
    return [labelled(random_atoms(rng, 1 + n % 4), rng, *(properties or ("energy", "forces", "stress")))
            for n in range(count)]


def write_frames(path: Path, images: list[Atoms]) -> Path:
    if path.suffix in (".db", ".json"):
        with connect(path) as database:
            for atoms in images:
                database.write(atoms)
    else:
        write(path, images)
    return path


def read_one(atoms: Atoms, keys: KeyMapping | None = None) -> Frame:
    frames, _ = read_frames(atoms, *([keys] if keys else []))
    return frames.frame(0)


def error_of(sources, *arguments) -> str:
    with pytest.raises(DataError) as caught:
        read_frames(sources, *arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)
