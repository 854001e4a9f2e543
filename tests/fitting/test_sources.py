"""Reading labelled frames: every kind of source, every way to name a label, every error."""

import re
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.db import connect
from ase.io import write
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress
from hypothesis import given, settings
from hypothesis import strategies as st

from ase_deeppot.config import parse
from ase_deeppot.errors import ConfigError, DataError
from ase_deeppot.fitting.frames import Frames, concatenate
from ase_deeppot.fitting.labels import KeyMapping
from ase_deeppot.fitting.sources import read_frames
from ase_deeppot.fitting.summary import summarise
from ase_deeppot.fitting.tally import format_reports
from ase_deeppot.fitting.units import suspect_units
from ase_deeppot.resources import find

FORMATS = ("extxyz", "traj", "db", "json")
DATA = Path(__file__).parents[3] / "shared" / "data"


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


def read_one(atoms: Atoms, keys: KeyMapping | None = None):
    frames, _ = read_frames(atoms, *([keys] if keys else []))
    return frames.frame(0)


def error_of(sources, *arguments) -> str:
    with pytest.raises(DataError) as caught:
        read_frames(sources, *arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Files of every kind ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.parametrize("kind", FORMATS)
def test_round_trip(tmp_path: Path, kind: str, constrained: bool) -> None:
    images = dataset(5)
    for atoms in images:
        atoms.set_constraint(FixAtoms([0]) if constrained else None)
    path = write_frames(tmp_path / f"set.{kind}", images)
    frames, (report,) = read_frames(path)
    exact = 1e-7 if kind == "extxyz" else 0.0  # eight decimals
    assert frames.count == len(images)
    for k, atoms in enumerate(images):
        frame, results = frames.frame(k), atoms.calc.results
        np.testing.assert_array_equal(frame.structure.numbers, atoms.numbers)
        np.testing.assert_allclose(frame.structure.positions, atoms.positions, atol=exact)
        np.testing.assert_allclose(frame.structure.cell, atoms.cell, atol=exact)
        np.testing.assert_array_equal(frame.structure.pbc, atoms.pbc)
        assert frame.energy == pytest.approx(results["energy"], abs=exact)
        np.testing.assert_allclose(frame.forces, results["forces"], atol=exact)
        stress = voigt_6_to_full_3x3_stress(results["stress"])
        np.testing.assert_allclose(frame.virial, -atoms.get_volume() * stress, rtol=1e-12, atol=100 * exact)
    assert report == (str(path), 5, 5, 5, 5, ("H", "O"), "")


def test_virial_is_minus_the_strain_derivative() -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    atoms.calc = EMT()
    atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    virial, step = np.zeros((3, 3)), 1e-5
    for a, b in np.ndindex(3, 3):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * step
            moved = atoms.copy()
            moved.set_cell(atoms.cell @ strain.T, scale_atoms=True)
            moved.calc = EMT()
            energies.append(moved.get_potential_energy())
        virial[a, b] = -(energies[0] - energies[1]) / (2 * step)
    np.testing.assert_allclose(read_one(atoms).virial, virial, atol=1e-6)
    assert abs(virial).max() > 0.1


@pytest.mark.parametrize("text", [":", ":2", "2:", "1:4", "::2", "::-2", "4:1:-1", "-2:", ":-1", "0", "-1", "3"])
@pytest.mark.parametrize("kind", FORMATS)
def test_slices_are_those_of_python(tmp_path: Path, kind: str, text: str) -> None:
    images = dataset(6, "energy")
    write_frames(tmp_path / f"set.{kind}", images)
    picked = eval(f"images[{text}]")
    energies = [atoms.calc.results["energy"] for atoms in (picked if ":" in text else [picked])]
    source = f"{tmp_path}/set.{kind}@{text}"
    frames, _ = read_frames(source)
    np.testing.assert_allclose(frames.energies, energies, atol=1e-7)
    assert frames.label(0) == f"{source} frame 0"


@pytest.mark.parametrize("kind", ["db", "json"])
def test_database_selections(tmp_path: Path, kind: str) -> None:
    images = dataset(8)
    write_frames(tmp_path / f"set.{kind}", images)
    frames, _ = read_frames(f"{tmp_path}/set.{kind}@natoms=2")
    assert list(frames.energies) == [atoms.calc.results["energy"] for atoms in images if len(atoms) == 2]
    frames, _ = read_frames(f"{tmp_path}/set.{kind}@natoms>1,O")
    assert frames.count == sum(len(atoms) > 1 and 8 in atoms.numbers for atoms in images)


def test_names_with_signs_in_them_and_wildcards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images = dataset(3)
    for name in ("b.extxyz", "a.extxyz", "run@2.extxyz", "c[1].extxyz"):
        write(name, images)
    Path("z.extxyz").mkdir()
    assert read_frames("run@2.extxyz")[0].count == 3
    assert read_frames("run@2.extxyz@:2")[0].count == 2
    assert read_frames("c[1].extxyz@0")[0].count == 1
    assert read_frames("?.extxyz@:2")[0].names == ("a.extxyz@:2", "b.extxyz@:2")
    frames, reports = read_frames(["*.extxyz", Path("a.extxyz"), *images, "b.extxyz", images[0]])
    assert frames.count == 4 * 3 + 3 + 3 + 3 + 1
    assert [report.frames for report in reports] == [3, 3, 3, 3, 3, 3, 3, 1]
    assert frames.label(15) == "Atoms in memory frame 0"
    assert frames.label(19) == "b.extxyz frame 1"


def test_compressed_and_plain_files(tmp_path: Path) -> None:
    write(tmp_path / "set.xyz.gz", dataset(3), format="extxyz")
    assert read_frames(tmp_path / "set.xyz.gz")[0].count == 3


# Names of labels ---------------------------------------------------------------------------------------------

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


# Errors ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("source", "message"), [
    ("missing.db", "missing.db: expected a file, got no such file: "),
    ("*.bar", "*.bar: expected files that match, got none in "),
    ("", "expected a file, a pattern as '*.extxyz' or DeePMD-kit systems, got a folder without type.raw"),
    ("good.extxyz@", "expected a slice or a selection after '@', got nothing"),
    ("good.extxyz@::0", "expected a step other than 0 after '@', got '::0'"),
    ("good.extxyz@natoms=3", "expected a slice as '@:100' for a file of type extxyz, got '@natoms=3'"),
    ("good.extxyz@7:", "good.extxyz@7:: expected at least one frame, got none"),
    ("good.db@natoms=99", "expected at least one frame, got none"),
    ("good.db@natoms=3=4", "good.db@natoms=3=4: expected a file that ASE can read, got "),
    ("text.extxyz", "text.extxyz: expected a file that ASE can read, got XYZError: ase.io.extxyz: Expected xyz"),
    ("unknown.foo", "unknown.foo: expected a file that ASE can read, got UnknownFileTypeError"),
    ("empty.db", "expected a file that ASE can read, got UnknownFileTypeError: Empty file"),
    ("foreign.db", "foreign.db: expected an ASE database, got the tables: recipes"),
    ("garbage.db", "expected a file that ASE can read, got DatabaseError: file is not a database"),
    ("foreign.json", "expected a file that ASE can read, got UnknownFileTypeError: Does not resemble ASE JSON"),
    ("cut.extxyz", "cut.extxyz: expected a file that ASE can read, got ValueError after 2 frames: "),
    ("cut.traj", "cut.traj: expected a file that ASE can read, got "),
    ("gap.extxyz", "expected no blank line between frames, got one at line 13, where ASE stops reading: remove it"),
    ("none.extxyz", "none.extxyz frame 0: expected at least one atom, got none"),
    ("element.extxyz", "element.extxyz: expected a file that ASE can read, got KeyError: 'Qq'"),
    ([], "expected at least one source of frames, got none"),
    (3, "expected a path or ase.Atoms as source, got int"),
    ([["good.db"]], "expected a path or ase.Atoms as source, got list"),
])
def test_sources_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    images = dataset(3)
    for name in ("good.extxyz", "good.traj", "good.db"):
        write_frames(Path(name), images)
    good = Path("good.extxyz").read_text()  # 3 frames of 1, 2 and 3 atoms: 12 lines
    for name, text in {"text.extxyz": "hello\nworld\n", "unknown.foo": "what is this", "empty.db": "",
                       "garbage.db": "garbage " * 200, "foreign.json": "{}", "none.extxyz": "0\n\n",
                       "cut.extxyz": good[:-100], "gap.extxyz": good + "\n" + good,
                       "element.extxyz": "1\nenergy=1.0\nQq 0.0 0.0 0.0\n"}.items():
        Path(name).write_text(text)
    Path("cut.traj").write_bytes(Path("good.traj").read_bytes()[:-600])
    with sqlite3.connect("foreign.db") as connection:
        connection.execute("CREATE TABLE recipes (name)")
    connection.close()
    before = {path: path.read_bytes() for path in Path().iterdir()}
    assert message in error_of(source)
    assert {path: path.read_bytes() for path in Path().iterdir()} == before


def test_blank_lines_at_the_end_are_no_loss(tmp_path: Path) -> None:
    write(tmp_path / "set.extxyz", dataset(2))
    with (tmp_path / "set.extxyz").open("a") as stream:
        stream.write("\n  \n\n")
    assert read_frames(tmp_path / "set.extxyz")[0].count == 2


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
    message = error_of(tmp_path / "set.extxyz")
    assert message == (f'{tmp_path}/set.extxyz: expected labels under "energy", "forces", "stress", got none; '
                       'keys seen: "REF_energy"; set [data.keys]')


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


# Flat arrays -------------------------------------------------------------------------------------------------

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


# Units -------------------------------------------------------------------------------------------------------

def suspected(frames: Frames) -> list[str]:
    return suspect_units([(frames, summarise(frames))])


WATER = -76.4 * 27.211386  # eV, an all-electron total energy


def water(scale: float = 1.0, energy: float = 1.0, force: float = 1.0, stress: float = 1.0) -> Frames:
    rng = np.random.default_rng(0)
    images = []
    for _ in range(4):
        atoms = Atoms("OHH", [[0, 0, 0], [0.96, 0, 0], [0, 0.96, 0]], cell=3 * np.eye(3), pbc=True)
        atoms.rattle(0.05, rng=rng)
        atoms.set_cell(scale * atoms.cell, scale_atoms=True)
        atoms.calc = SinglePointCalculator(atoms, energy=energy * (WATER + rng.normal()),
                                           forces=force * rng.normal(size=(3, 3)),
                                           stress=stress * rng.normal(size=6, scale=0.01))
        images.append(atoms)
    return read_frames(images)[0]


@pytest.mark.parametrize(("changes", "message"), [
    ({"scale": 0.1}, r"memory frame \d: atoms 0\.0\d+ A apart; are positions in A, not nm or scaled\?"),
    ({"force": 100.0}, r"memory: forces of RMS \S+ eV/A; are they in eV/A\?"),
    ({"force": 1e-5}, r"memory: forces of RMS \S+e-0[56] eV/A; are they in eV/A\?"),
    ({"stress": 1602.0}, r"memory: a stress of \d\d eV/A\^3; is it in eV/A\^3, not GPa or kbar\?"),
    ({"energy": 1 / 27.2114}, "memory: energies look like all-electron energies in Hartree; expected eV"),
    ({"energy": 23.0605}, "memory: energies look like all-electron energies in kcal/mol; expected eV"),
    ({"energy": 96.485}, "memory: energies look like all-electron energies in kJ/mol; expected eV"),
])
def test_other_units_in_one_source(changes: dict, message: str) -> None:
    assert suspected(water()) == []
    (finding,) = suspected(water(**changes))
    assert re.fullmatch(f"Atoms in {message}", finding)


@pytest.mark.parametrize(("changes", "messages"), [
    ({"energy": 1.001, "force": 2.0}, []),
    ({"energy": 0.2, "force": 0.5}, []),  # other pseudopotentials
    ({"force": 1 / 51.422}, ["RMS forces differ by a factor 51.4; is one of them in Hartree/Bohr?"]),
    ({"force": 23.06}, ["RMS forces differ by a factor 23.1; is one of them in kcal/mol/A?"]),
    ({"energy": 0.3 / 27.2114}, []),
])
def test_other_units_beside_another_source(changes: dict, messages: list[str]) -> None:
    findings = suspected(concatenate([water(), water(**changes)]))
    assert findings == [f"Atoms in memory and Atoms in memory: {message}" for message in messages]


def test_energies_in_hartree_beside_others() -> None:
    pseudo = 0.2259  # of the all-electron energy
    findings = suspected(concatenate([water(energy=pseudo), water(energy=pseudo / 27.2114)]))
    assert findings == ["Atoms in memory and Atoms in memory: energies per atom differ by a factor 27.2; "
                        "is one of them in Hartree?"]


def test_unlabelled_and_single_atoms_raise_no_suspicion() -> None:
    atoms = Atoms("H", positions=[[0, 0, 0]])
    atoms.calc = SinglePointCalculator(atoms, energy=-13.6, forces=np.zeros((1, 3)))
    bare = labelled(random_atoms(np.random.default_rng(0), 2), np.random.default_rng(0), "forces")
    assert suspected(concatenate([read_frames(atoms)[0], read_frames(bare)[0]])) == []


@pytest.mark.skipif(not DATA.exists(), reason="the collected benchmark sets are not beside the repository")
def test_published_sets() -> None:
    frames, reports = read_frames([DATA / "mlearn_Cu/train.extxyz", f"{DATA}/water_dplr/all.extxyz@:10",
                                   DATA / "rmd17_ethanol/isolated_atoms.extxyz"])
    assert [report[1:5] for report in reports] == [(262, 262, 262, 197), (10, 10, 10, 10), (4, 4, 0, 0)]
    assert suspected(frames) == []


@pytest.mark.parametrize("periodic", [False, True])
def test_the_shortest_distance_is_across_the_boundary(periodic: bool) -> None:
    cell = np.array([[5.0, 0, 0], [2.4, 4, 0], [-1, 1, 6]])
    atoms = Atoms("H2", [[0.05, 0, 0], cell.sum(0) - [0.05, 0, 0]], cell=cell, pbc=periodic)
    labelled(atoms, np.random.default_rng(0), "forces")
    assert len(suspected(read_frames(atoms)[0])) == periodic


@pytest.mark.parametrize("molecule", ["water", "methanol", "ethanol", "methanol-methanol"])
def test_valence_energies_of_the_bundled_molecules_are_not_suspected(molecule):
    """Those of ethanol in eV are, by chance, near its all-electron energy in Rydberg."""
    frames, _ = read_frames(f"{find('examples/data/alcohols.db')}@molecule={molecule}")
    assert suspected(frames) == []
