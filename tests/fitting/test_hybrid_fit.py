"""Hybrid descriptors, and a bispectrum, in training: statistics of each part, a run, and training further."""

import numpy as np
import pytest

from ase_deeppot import DeepPotCalculator
from ase_deeppot.fitting import fit
from ase_deeppot.interop import load_model
from ase_deeppot.neighbors import neighbor_pairs
from ase_deeppot.potential.hybrid import smooth_parts

PART = {"neuron": [3, 6], "axis_neuron": 2, "order": 32}
MODEL = {"rcut": 4.0, "descriptor": {"kind": "hybrid", "parts": [
    PART | {"rcut": 4.0}, PART | {"kind": "radial", "rcut": 3.0}]}}
BISPECTRUM = {"rcut": 4.0, "descriptor": PART | {"bispectrum_neuron": 2}}


def mean_weight(images, symbol, rcut, rcut_smth):
    """Sum of s(r) over the neighbours of all atoms of an element, and the number of these atoms."""
    total = centres = 0
    for atoms in images:
        pairs = neighbor_pairs(atoms.positions, atoms.cell[:], atoms.pbc, rcut)
        r = np.linalg.norm(pairs.vectors, axis=1)
        u = np.clip((r - rcut_smth) / (rcut - rcut_smth), 0, 1)
        mine = atoms.symbols == symbol
        total += ((u**3 * (-6 * u**2 + 15 * u - 10) + 1) / r)[mine[pairs.i]].sum()
        centres += mine.sum()
    return total, centres


def test_each_part_has_statistics_of_its_own(train, alloys):
    images = alloys(6)
    model = load_model(train(images, alloys(2, seed=1), model=MODEL).model)
    for part, rcut in zip(smooth_parts(model.module.descriptor), (4.0, 3.0), strict=True):
        for t, symbol in enumerate(model.card.type_map):
            total, centres = mean_weight(images, symbol, rcut, 0.5)
            assert float(part.davg[t]) == pytest.approx(total / (centres * float(part.sel.sum())))
    wide, narrow = (part.sel.sum() for part in smooth_parts(model.module.descriptor))
    assert narrow < wide


@pytest.mark.parametrize("model", [MODEL, BISPECTRUM], ids=["hybrid", "bispectrum"])
def test_training_goes_down_and_further(train, tiny, alloys, tmp_path, model):
    images, probe = alloys(8), alloys(1, seed=9)[0]
    start, first = (train(images, alloys(2, seed=1), model=model, output=f"{steps}", training={"steps": steps})
                    for steps in (1, 60))
    errors = [load_model(run.model).card.training["validation_rmse"]["forces"] for run in (start, first)]
    assert errors[1] < 0.9 * errors[0]
    options = tiny(training={"steps": 1}, learning_rate={"start": 1e-12, "stop": 1e-12, "matrices": 1e-12})
    options |= {"model": {}, "init_model": str(first.model), "quiet": True}
    again = fit(images, alloys(2, seed=1), output=str(tmp_path / "again"), **options)
    got = []
    for path in (first.model, again.model):
        atoms = probe.copy()
        atoms.calc = DeepPotCalculator(path)
        got.append(atoms.get_forces())
    np.testing.assert_allclose(got[1], got[0], rtol=0, atol=1e-6)
