"""Nudged elastic bands: one calculator per image, a shared one, images in threads."""

import copy
import threading

import numpy as np
import pytest
from ase import Atoms
from ase.mep import NEB
from ase.optimize import FIRE
from builders import random_atoms

from ase_deeppot import DeepPotCalculator


def band(count=5):
    """An atom that jumps from one side of a diamond to the other."""
    first = Atoms("OHHO", [[0, 0, 0], [1.6, 0, 0.3], [0, 1.6, 0], [1.3, 1.4, 0.9]], cell=[7, 7, 7], pbc=True)
    last = first.copy()
    last.positions[3, 2] -= 1.5
    images = [first.copy() for _ in range(count - 1)] + [last]
    return images


def forces_of(neb):
    neb.interpolate()
    return neb.get_forces()


def test_serial_shared_and_threads_agree(model_file):
    results = []
    for options in ({}, {"allow_shared_calculator": True}, {"parallel": True}):
        images = band()
        shared = DeepPotCalculator(model_file())
        for image in images:
            image.calc = shared if "allow_shared_calculator" in options else DeepPotCalculator(model_file())
        neb = NEB(images, climb=True, method="improvedtangent", **options)
        results.append((forces_of(neb), neb.energies.copy()))
    assert abs(results[0][0]).max() > 1e-2
    for forces, energies in results[1:]:
        np.testing.assert_allclose(forces, results[0][0], atol=1e-11)
        np.testing.assert_allclose(energies[1:-1], results[0][1][1:-1], rtol=1e-12)


def test_optimisation_with_images_in_threads(model_file):
    images = band()
    for image in images:
        image.calc = DeepPotCalculator(model_file())
    neb = NEB(images, parallel=True, method="improvedtangent")
    neb.interpolate()
    before = abs(neb.get_forces()).max()
    FIRE(neb, logfile=None).run(fmax=0.2 * before, steps=60)
    assert abs(neb.get_forces()).max() < before


def test_turn_of_ethanols_hydroxyl_with_local_frames(alcohol_model, ethanol):
    """By 120 degrees: jumps do not keep the band from going down."""
    images = [turned(ethanol, angle) for angle in np.linspace(0.0, 120.0, 7)]
    for image in images:
        image.calc = DeepPotCalculator(alcohol_model)
    neb = NEB(images, parallel=True, method="improvedtangent")
    before = abs(neb.get_forces()).max()
    FIRE(neb, logfile=None, maxstep=0.05).run(fmax=0.3 * before, steps=60)
    assert abs(neb.get_forces()).max() < 0.5 * before
    assert 0.01 < np.ptp(neb.energies) < 1.0


def turned(atoms, angle):
    """The molecule with its hydroxyl group turned by so many degrees."""
    frame = atoms.copy()
    oxygen = next(k for k, symbol in enumerate(frame.symbols) if symbol == "O")
    bonded = np.flatnonzero(frame.get_distances(oxygen, range(len(frame))) < 1.7)
    near = {frame[k].symbol: k for k in bonded if k != oxygen}
    other = next(k for k, symbol in enumerate(frame.symbols) if symbol == "C" and k != near["C"])
    frame.rotate_dihedral(other, near["C"], oxygen, near["H"], angle, indices=[near["H"]])
    return frame


def test_copies_of_one_calculator_in_threads(calculator):
    """Thread k moves its own atoms with its own copy; the numbers are those of a serial run."""
    first = calculator()
    structures = [random_atoms(8, seed=k) for k in range(4)]
    copies = [copy.deepcopy(first) for _ in structures]
    got = [None] * len(structures)

    def work(k):
        atoms = structures[k].copy()
        atoms.calc = copies[k]
        for _ in range(10):
            atoms.positions += 0.01
            got[k] = atoms.get_forces()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(structures))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for atoms, forces in zip(structures, got, strict=True):
        atoms.positions += 0.1
        atoms.calc = first
        np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-11)


def test_without_sharing_ase_refuses_one_calculator_for_all(calculator):
    images, shared = band(), calculator()
    for image in images:
        image.calc = shared
    with pytest.raises(ValueError, match="share the same calculator"):
        NEB(images, method="improvedtangent").get_forces()
