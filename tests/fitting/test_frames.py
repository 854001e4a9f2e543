"""Frames as flat arrays."""

import numpy as np
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled_atoms import dataset, labelled, random_atoms

from ase_deeppot.fitting.frames import Frames, concatenate
from ase_deeppot.fitting.sources import read_frames


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=8),
       st.integers(0, 2**32 - 1), st.data())
def test_flat_arrays_hold_every_frame(shapes, seed: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    images = []
    for size, periodic, with_energy, with_stress in shapes:
        properties = ["forces"] + ["energy"] * with_energy + ["stress"] * (with_stress and periodic)
        images.append(labelled(random_atoms(rng, size, periodic), rng, *properties))
    frames, _ = read_frames(images)
    frames = concatenate([frames, read_frames(images[:1])[0]])
    images.append(images[0])
    order = data.draw(st.lists(st.integers(-len(images), len(images) - 1), max_size=10))
    chosen = frames.select(order)
    assert chosen.offsets[-1] == len(chosen.numbers) == sum(len(images[k]) for k in order)
    for k, index in enumerate(order):
        same_frame(chosen, k, images[index])
        assert chosen.label(k) == frames.label(index % len(images))
    assert frames.source[-1] == 1
    mask = rng.random(len(images)) < 0.5
    np.testing.assert_array_equal(frames.select(mask).energies, frames.energies[mask])
    np.testing.assert_array_equal(frames.select(slice(1, None, 2)).origin, frames.origin[1::2])


def same_frame(frames: Frames, k: int, atoms: Atoms) -> None:
    frame, results = frames.frame(k), atoms.calc.results
    np.testing.assert_array_equal(frame.structure.positions, atoms.positions)
    np.testing.assert_array_equal(frame.structure.numbers, atoms.numbers)
    np.testing.assert_array_equal(frame.structure.cell, atoms.cell)
    np.testing.assert_array_equal(frame.structure.pbc, atoms.pbc)
    np.testing.assert_array_equal(frame.forces, results["forces"])
    np.testing.assert_equal(frame.energy, results.get("energy", np.nan))
    assert np.isfinite(frame.virial).all() == ("stress" in results)


def test_select_copies() -> None:
    frames, _ = read_frames(dataset(3))
    part = frames.select([0, 2])
    part.positions[:] = 0.0
    assert abs(frames.positions).min() > 0.0
