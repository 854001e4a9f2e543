"""Parts of the errors against masks written out; tables, CSV and predictions as files."""

import csv
import io

import numpy as np
import pytest
from ase.io import read

from ase_deeppot.fitting.breakdown import as_csv, breakdown, force_error_of_frames, format_breakdown
from ase_deeppot.fitting.frames import concatenate
from ase_deeppot.fitting.metrics import Predictions
from ase_deeppot.fitting.predicted import writing_predictions
from ase_deeppot.fitting.sources import read_frames

TYPE_MAP = ("Cu", "Au")


@pytest.fixture
def shown(alloys):
    """Frames of two sources, the second with energies only, and predictions that are off."""
    first, second = read_frames(alloys(4, seed=1))[0], read_frames(alloys(2, seed=2, properties=("energy",)))[0]
    frames = concatenate([first._replace(names=("a.xyz",)), second._replace(names=("b.xyz",))])
    rng = np.random.default_rng(0)
    return frames, Predictions(np.nan_to_num(frames.energies) + rng.normal(size=6),
                               np.nan_to_num(frames.forces) + rng.normal(size=frames.forces.shape),
                               np.nan_to_num(frames.virials) + rng.normal(size=(6, 3, 3)))


def test_parts_against_masks(shown):
    frames, predictions = shown
    entries = {(entry.group, entry.member, entry.errors.name): entry.errors
               for entry in breakdown(frames, predictions, TYPE_MAP)}
    error = predictions.forces - frames.forces
    size = np.linalg.norm(frames.forces, axis=1)
    for key, mask in ((("species", "Au"), (frames.numbers == 79) & ~np.isnan(size)),
                      (("force", "1 to 3 eV/A"), (size >= 1) & (size < 3)), (("source", "a.xyz"), ~np.isnan(size))):
        part = error[mask]
        assert entries[*key, "forces"].rmse == pytest.approx(np.sqrt(np.mean(part**2)))
        assert entries[*key, "forces"].mae == pytest.approx(np.mean(np.abs(part)))
        assert entries[*key, "forces"].largest == pytest.approx(np.abs(part).max())
        assert entries[*key, "forces"].labels == part.size
    energy = (predictions.energies - frames.energies)[4:] / np.diff(frames.offsets)[4:]
    assert entries["source", "b.xyz", "energy"].rmse == pytest.approx(np.sqrt(np.mean(energy**2)))
    assert entries["source", "b.xyz", "forces"].labels == 0
    by_size = sum(errors.labels for (group, *_), errors in entries.items() if group == "force")
    by_species = sum(errors.labels for (group, *_), errors in entries.items() if group == "species")
    assert by_size == by_species == entries["all", "", "forces"].labels


def test_table(shown):
    text = format_breakdown(breakdown(*shown, TYPE_MAP))
    lines = text.splitlines()
    assert lines[0].startswith("by source: RMSE")
    assert lines[2].split()[0] == "b.xyz"
    assert lines[2].split()[2:] == ["-", "-"]
    assert [line.split()[0] for line in lines[5:7]] == ["Cu", "Au"]


def test_one_source_has_no_table_of_sources(alloys):
    frames, _ = read_frames(alloys(2))
    exact = Predictions(frames.energies, frames.forces, frames.virials)
    text = format_breakdown(breakdown(frames, exact, TYPE_MAP))
    assert "by source" not in text
    assert " 0 " in text


def test_csv(shown):
    entries = breakdown(*shown, TYPE_MAP)
    rows = list(csv.DictReader(io.StringIO(as_csv(entries).decode())))
    assert len(rows) == len(entries)
    for row, entry in zip(rows, entries, strict=True):
        assert (row["group"], row["member"], row["property"]) == (entry.group, entry.member, entry.errors.name)
        assert row["rmse"] == ("" if not entry.errors.labels else f"{entry.errors.rmse:.8g}")


def test_worst_frames(shown):
    frames, predictions = shown
    errors = force_error_of_frames(frames, predictions)
    assert np.isnan(errors[4:]).all()
    rows = slice(frames.offsets[2], frames.offsets[3])
    assert errors[2] == pytest.approx(np.sqrt(np.mean((predictions.forces - frames.forces)[rows] ** 2)))


def test_predictions_as_a_file(shown, tmp_path):
    frames, predictions = shown
    with writing_predictions(tmp_path / "p.xyz") as write:
        write(frames, predictions)
    images = read(tmp_path / "p.xyz", ":", format="extxyz")
    assert len(images) == 6
    for k, atoms in enumerate(images):
        rows = slice(frames.offsets[k], frames.offsets[k + 1])
        np.testing.assert_allclose(atoms.get_forces(), predictions.forces[rows], atol=1e-7)
        assert atoms.get_potential_energy() == pytest.approx(predictions.energies[k], abs=1e-6)
        assert atoms.info["REF_energy"] == pytest.approx(frames.energies[k], abs=1e-6)
        assert ("REF_forces" in atoms.arrays, "REF_stress" in atoms.info) == (k < 4, k < 4)
        assert (atoms.info["source"], atoms.info["frame"]) == (("a.xyz", k) if k < 4 else ("b.xyz", k - 4))
        volume = atoms.get_volume()
        np.testing.assert_allclose(atoms.get_stress()[0], -predictions.virials[k][0, 0] / volume, atol=1e-7)
    np.testing.assert_allclose(images[0].arrays["REF_forces"], frames.forces[: frames.offsets[1]], atol=1e-7)
