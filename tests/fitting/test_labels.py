"""Energy, forces and stress under every name, and what is said of labels that cannot be used."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.db import connect
from ase.io import write
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress
from labelled_atoms import FORMATS, dataset, error_of, labelled, random_atoms, read_one, write_frames

from ase_deeppot.config import parse
from ase_deeppot.errors import ConfigError
from ase_deeppot.fitting.labels import KeyMapping
from ase_deeppot.fitting.sources import read_frames
from ase_deeppot.fitting.tally import format_reports

REFERENCE = KeyMapping(energy="REF_energy", forces="REF_forces", stress="REF_stress")


def reference_atoms(rng: np.random.Generator) -> tuple[Atoms, float, np.ndarray, np.ndarray]:
    """Atoms with other values under the standard keys."""
    atoms = labelled(random_atoms(rng), rng, "energy", "forces", "stress", "free_energy")
    return atoms, float(rng.normal()), rng.normal(size=(3, 3)), rng.normal(size=6, scale=0.1)


@pytest.mark.parametrize("kind", ["memory", "extxyz", "db", "json"])
def test_other_keys(tmp_path: Path, kind: str) -> None:
    atoms, energy, forces, stress = reference_atoms(np.random.default_rng(1))
    path = tmp_path / f"set.{kind}"
    if kind in ("db", "json"):
        connect(path).write(atoms, key_value_pairs={"REF_energy": energy},
                            data={"REF_forces": forces, "REF_stress": stress})
    else:
        atoms.info.update(REF_energy=energy, REF_stress=stress)
        atoms.arrays["REF_forces"] = forces
    if kind == "extxyz":
        write(path, atoms)
    frames, _ = read_frames(atoms if kind == "memory" else path, REFERENCE)
    np.testing.assert_allclose(frames.energies, [energy], atol=1e-7)
    np.testing.assert_allclose(frames.forces, forces, atol=1e-7)
    expected = -atoms.get_volume() * voigt_6_to_full_3x3_stress(stress)
    np.testing.assert_allclose(frames.virials[0], expected, atol=1e-5)


@pytest.mark.parametrize("kind", FORMATS)
def test_free_energy_is_a_key(tmp_path: Path, kind: str) -> None:
    images = dataset(2, "energy", "free_energy")
    frames, _ = read_frames(write_frames(tmp_path / f"set.{kind}", images), KeyMapping(energy="free_energy"))
    np.testing.assert_allclose(frames.energies, [a.calc.results["free_energy"] for a in images], atol=1e-7)


@pytest.mark.parametrize("shape", [(3, 3), (9,), (6,)])
@pytest.mark.parametrize("sign", ["-dE/dstrain", "+dE/dstrain"])
def test_virials_and_stresses_agree(tmp_path: Path, shape: tuple[int, ...], sign: str) -> None:
    atoms = dataset(1)[0]
    expected = read_one(atoms).virial
    virial = expected if sign == "-dE/dstrain" else -expected
    stress = voigt_6_to_full_3x3_stress(atoms.calc.results["stress"])
    voigt = shape == (6,)
    atoms.info["v"] = full_3x3_to_voigt_6_stress(virial) if voigt else virial.reshape(shape)
    atoms.info["s"] = full_3x3_to_voigt_6_stress(stress) if voigt else stress.reshape(shape)
    write(tmp_path / "set.extxyz", atoms)
    for source in (atoms, tmp_path / "set.extxyz"):
        for keys in (KeyMapping(virial="v", virial_sign=sign), KeyMapping(stress="s")):
            frames, _ = read_frames(source, keys)
            np.testing.assert_allclose(frames.virials[0], expected, atol=1e-5)


def test_a_virial_needs_no_cell_and_replaces_the_stress() -> None:
    rng = np.random.default_rng(2)
    atoms = labelled(random_atoms(rng, periodic=False), rng, "energy", "stress")
    atoms.info["virial"] = np.diag([1.0, 2.0, 3.0])
    frame = read_one(atoms, KeyMapping(virial="virial", virial_sign="-dE/dstrain"))
    np.testing.assert_array_equal(frame.virial, np.diag([1.0, 2.0, 3.0]))
    assert np.isnan(read_one(atoms, KeyMapping(stress="")).virial).all()


def test_labels_may_be_missing_from_some_frames() -> None:
    images = dataset(2) + dataset(1, "energy") + dataset(1, "forces") + [random_atoms(np.random.default_rng(0))]
    frames, (report,) = read_frames(images)
    assert report[1:5] == (5, 3, 3, 2)
    assert list(np.isnan(frames.energies)) == [False, False, False, True, True]
    assert np.isnan(frames.frame(2).forces).all()
    assert np.isnan(frames.frame(3).virial).all()
    assert report.hint == ('no energy under "energy" in 2 of 5 frames; no forces under "forces" in 2 of 5 frames; '
                           'no stress under "stress" in 3 of 5 frames')


def test_the_energy_never_comes_from_another_key() -> None:
    atoms = dataset(1, "forces", "free_energy")[0]
    atoms.info.update(REF_energy=-1.0, energies_of=3, virial=np.eye(3), stressed="no")
    frames, (report,) = read_frames(atoms)
    assert np.isnan(frames.energies).all()
    assert report.hint == ('no energy under "energy", found "REF_energy", "free_energy": set keys.energy; '
                           'no stress under "stress", found "stressed", "virial": set keys.stress')
    del atoms.info["stressed"]
    assert "set keys.virial and keys.virial_sign" in read_frames(atoms)[1][0].hint


def test_keys_exclude_each_other() -> None:
    assert parse(KeyMapping, {"energy": "E"}, "data.keys") == KeyMapping(energy="E")
    with pytest.raises(ConfigError, match=r"expected virial_sign = \"-dE/dstrain\" or"):
        parse(KeyMapping, {"virial": "virial"}, "data.keys")
    with pytest.raises(ConfigError, match="got both: 's' and 'v'"):
        KeyMapping(stress="s", virial="v", virial_sign="-dE/dstrain")
    with pytest.raises(ConfigError, match="expected a key for virial"):
        KeyMapping(virial_sign="+dE/dstrain")
    with pytest.raises(ConfigError, match="expected one of '', '-dE/dstrain', '"):
        parse(KeyMapping, {"virial": "v", "virial_sign": "-"}, "data.keys")


def test_reports_line_up() -> None:
    _, reports = read_frames([*dataset(2, "energy")])
    assert format_reports(reports) == ["source            frames energies  forces virials  elements",
                     "Atoms in memory        2        2       0       0  O",
                     '  no forces under "forces"']


@pytest.mark.parametrize(("changes", "keys", "message"), [
    ({"E": [1.0, 2.0]}, {"energy": "E"}, "expected one number under 'E', got shape (2,)"),
    ({"E": "low"}, {"energy": "E"}, "expected numbers under 'E', got 'low'"),
    ({"E": True}, {"energy": "E"}, "expected numbers under 'E', got 'True'"),
    ({"E": np.nan}, {"energy": "E"}, "expected finite numbers under 'E', got nan"),
    ({"E": -np.inf}, {"energy": "E"}, "expected finite numbers under 'E', got -inf"),
    ({"F": np.zeros((2, 3))}, {"forces": "F"}, "expected shape (3, 3) under 'F', got (2, 3)"),
    ({"F": np.zeros(9)}, {"forces": "F"}, "expected shape (3, 3) under 'F', got (9,)"),
    ({"F": [[1.0], [1.0, 2.0]]}, {"forces": "F"}, "expected numbers under 'F', got '[[1.0], [1.0, 2.0]]'"),
    ({"F": np.full((3, 3), np.nan)}, {"forces": "F"}, "expected finite numbers under 'F', got nan"),
    ({"S": np.zeros(5)}, {"stress": "S"}, "expected shape (3, 3), (9,) or (6,) under 'S', got (5,)"),
    ({"S": np.arange(9.0)}, {"stress": "S"},
     "expected a symmetric tensor under 'S', got 2 and 6 for xz and zx"),
    ({"V": np.triu(np.ones((3, 3)))}, {"virial": "V", "virial_sign": "-dE/dstrain"},
     "expected a symmetric tensor under 'V', got 1 and 0 for xy and yx"),
])
def test_labels_that_cannot_be_used(changes: dict, keys: dict, message: str) -> None:
    images = dataset(2)
    images.append(labelled(random_atoms(np.random.default_rng(0)), np.random.default_rng(0), "energy"))
    images[2].info.update(changes)
    assert error_of(images, KeyMapping(**keys)) == f"Atoms in memory frame 2: {message}"


def test_structures_that_cannot_be_used() -> None:
    images = dataset(2)
    images[1].positions[0, 0] = np.nan
    images[1].calc = None
    assert error_of(images).startswith("Atoms in memory frame 1: expected finite positions, got [")
    atoms = labelled(random_atoms(np.random.default_rng(0), periodic=False), np.random.default_rng(0), "stress")
    assert "expected three independent cell vectors beside a stress" in error_of(atoms)
    atoms.pbc = True
    atoms.calc = None
    assert "expected a cell vector along periodic direction 0" in error_of(atoms)


def test_an_asymmetric_stress_of_an_extxyz_file_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "set.extxyz"
    path.write_text('1\nLattice="4 0 0 0 4 0 0 0 4" stress="1 2 3 0 1 0 3 0 1" energy=1.0\nH 0.0 0.0 0.0\n')
    assert "frame 0: expected a symmetric tensor under 'stress', got" in error_of(path)
    assert read_frames(path, KeyMapping(stress=""))[0].energies[0] == 1.0


def test_no_labels_at_all_names_what_was_seen(tmp_path: Path) -> None:
    atoms = reference_atoms(np.random.default_rng(0))[0]
    atoms.calc = None
    atoms.info["REF_energy"] = 1.0
    write(tmp_path / "set.extxyz", [atoms])
    expected = f'{tmp_path}/set.extxyz: expected labels under "energy", "forces", "stress", got none; keys seen: '
    assert error_of(tmp_path / "set.extxyz") == (
        expected + '"REF_energy"; say which in [data.keys], or by --key energy=REF_energy')
    atoms.info |= {"my_virial": np.eye(3), "other_energy": 2.0}  # one of two energies; a virial needs a sign too
    atoms.arrays["REF_forces"] = np.ones((len(atoms), 3))
    write(tmp_path / "set.extxyz", [atoms])
    assert error_of(tmp_path / "set.extxyz").endswith("by --key energy=REF_energy --key forces=REF_forces")
    atoms.info = {"what": 1.0}
    del atoms.arrays["REF_forces"]
    write(tmp_path / "set.extxyz", [atoms])
    assert error_of(tmp_path / "set.extxyz") == (
        expected + '"what"; say which in [data.keys], or by --key energy=NAME')


def test_results_of_other_structures_are_refused() -> None:
    calculator = EMT()
    images = [bulk("Cu", cubic=True), bulk("Cu", cubic=True)]
    for n, atoms in enumerate(images):
        atoms.rattle(0.1, seed=n)
        atoms.calc = calculator
        atoms.get_potential_energy()
        atoms.info["E"] = 1.0
    assert "frame 0: expected the calculator's results to be of this structure, got other positions" in error_of(images)
    other = KeyMapping(energy="E", forces="", stress="")
    assert read_frames(images, other)[0].count == 2
