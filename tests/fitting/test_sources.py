"""Reading labelled frames from every kind of source, and what is said of those that cannot be read."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.io import write
from ase.stress import voigt_6_to_full_3x3_stress
from labelled_atoms import FORMATS, dataset, error_of, read_one, write_frames

from ase_deeppot.fitting.sources import read_frames


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
