"""Frames to the files of others and back: nothing changes."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read

from ase_deeppot import cli
from ase_deeppot.errors import DataError
from ase_deeppot.fitting import conversion, read_frames
from ase_deeppot.fitting.conversion import write_frames
from ase_deeppot.fitting.labels import KeyMapping
from ase_deeppot.fitting.sources import open_for_now

SKEWED = np.array([[9.0, 0.1, 0.0], [2.0, 8.0, -0.3], [0.5, 0.7, 10.0]])


def frames_of(*, seed=0, pbc=True, cell=SKEWED):
    """Several compositions and orders of atoms; some labels missing here and there."""
    rng, atoms = np.random.default_rng(seed), []
    for k, symbols in enumerate(["OHH", "OHH", "HOH", "CuO", "OHH", "CuO", "CuO"]):
        one = Atoms(symbols if symbols != "CuO" else ["Cu", "O"], cell=cell, pbc=pbc)
        one.positions = rng.uniform(0, 8, one.positions.shape)
        stress = rng.normal(size=6)
        results = {"energy": rng.normal() * 1e4, "forces": rng.normal(size=one.positions.shape)}
        results |= {"stress": stress} if k != 4 and np.any(cell) else {}
        one.calc = SinglePointCalculator(one, **results)
        atoms.append(one)
    return read_frames(atoms)[0]


def assert_same(got, expected, tolerance=0.0):
    """Frames in any order, found by their energies."""
    assert got.count == expected.count
    for a, b in zip(np.argsort(got.energies), np.argsort(expected.energies), strict=True):
        one, other = got.frame(a), expected.frame(b)
        assert one.energy == pytest.approx(other.energy, rel=1e-10 if tolerance else 0, abs=0)
        np.testing.assert_array_equal(one.structure.numbers, other.structure.numbers)
        np.testing.assert_array_equal(one.structure.pbc, other.structure.pbc)
        for part, wanted in ((one.structure.positions, other.structure.positions), (one.forces, other.forces),
                             (one.structure.cell, other.structure.cell)):
            np.testing.assert_allclose(part, wanted, rtol=0, atol=tolerance)
        np.testing.assert_allclose(one.virial, other.virial, rtol=1e-14, atol=1e-12 + 1e4 * tolerance)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("name", ["systems", "systems.hdf5", "systems.h5"])
@pytest.mark.parametrize("shape", [{}, {"pbc": False}, {"pbc": False, "cell": np.zeros((3, 3))}],
                         ids=["periodic", "in a box", "open"])
def test_systems_and_back(tmp_path, name, mixed, shape):
    frames = frames_of(**shape)
    written = write_frames(frames, tmp_path / name, mixed)
    assert len(written) == len(set(written)) > 1
    assert_same(read_frames(str(tmp_path / name))[0], frames)


@pytest.mark.parametrize(("name", "tolerance"), [("a.traj", 0.0), ("a.db", 0.0), ("a.extxyz", 1e-8)])
def test_formats_of_ase_and_back(tmp_path, name, tolerance):
    frames = frames_of()
    assert write_frames(frames, tmp_path / name) == []
    assert_same(read_frames(str(tmp_path / name))[0], frames, tolerance)


def test_weights_go_to_formats_of_ase(tmp_path):
    atoms = Atoms("H", info={"w": 3.0})
    atoms.calc = SinglePointCalculator(atoms, energy=1.0)
    write_frames(read_frames(atoms, KeyMapping(weight="w"))[0], tmp_path / "a.extxyz")
    assert read(tmp_path / "a.extxyz").info["weight"] == 3.0


def test_layout(tmp_path):
    """What DeePMD-kit expects to find, by its documentation; frames with and without a virial are apart."""
    frames = frames_of()
    assert write_frames(frames, tmp_path / "s", elements=["O", "H", "Cu"]) == ["H2O", "H2O-2", "CuO", "H2O-3"]
    assert (tmp_path / "s/H2O/type.raw").read_text() == "0\n1\n1\n"
    assert (tmp_path / "s/H2O-2/type.raw").read_text() == "1\n0\n1\n"
    assert (tmp_path / "s/CuO/type_map.raw").read_text() == "O\nH\nCu\n"
    first = frames.frame(0)
    shapes = {"coord": (2, 9), "box": (2, 9), "energy": (2,), "force": (2, 9), "virial": (2, 9)}
    arrays = {name: np.load(tmp_path / f"s/H2O/set.000/{name}.npy") for name in shapes}
    assert {name: array.shape for name, array in arrays.items()} == shapes
    np.testing.assert_array_equal(arrays["virial"][0], first.virial.reshape(9))
    np.testing.assert_array_equal(arrays["box"][0], SKEWED.reshape(9))
    assert not (tmp_path / "s/H2O-3/set.000/virial.npy").exists()
    assert not (tmp_path / "s/H2O/nopbc").exists()


def test_layout_of_mixed_types(tmp_path):
    assert write_frames(frames_of(), tmp_path / "s", mixed=True) == ["atoms3", "atoms2", "atoms3-2"]
    assert (tmp_path / "s/atoms3/type.raw").read_text() == "0\n0\n0\n"
    np.testing.assert_array_equal(np.load(tmp_path / "s/atoms3/set.000/real_atom_types.npy"),
                                  [[1, 0, 0], [1, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("kind", ["npy", "hdf5"])
def test_dpdata_reads_the_same(tmp_path, kind, mixed):
    """Where dpdata is installed, as an independent reader."""
    dpdata = pytest.importorskip("dpdata")
    frames = frames_of()
    name = "s.hdf5" if kind == "hdf5" else "s"
    systems = write_frames(frames, tmp_path / name, mixed)
    forms = {("npy", False): "deepmd/npy", ("npy", True): "deepmd/npy/mixed", ("hdf5", False): "deepmd/hdf5"}
    if (kind, mixed) not in forms:
        pytest.skip("dpdata has no mixed HDF5")
    found = []
    for system in systems:
        place = f"{tmp_path / name}{'#/' if kind == 'hdf5' else '/'}{system}"
        if mixed:
            read = dpdata.MultiSystems()
            read.load_systems_from_file(place, fmt=forms[kind, mixed])
            found += [atoms for one in read for atoms in one.to("ase/structure")]
        else:
            found += dpdata.LabeledSystem(place, fmt=forms[kind, mixed]).to("ase/structure")
    energies = sorted(atoms.get_potential_energy() for atoms in found)
    np.testing.assert_allclose(energies, np.sort(frames.energies))
    for atoms in found:
        k = int(np.argmin(np.abs(frames.energies - atoms.get_potential_energy())))
        frame = frames.frame(k)
        if np.isfinite(frame.virial).all():
            np.testing.assert_allclose(-atoms.get_volume() * atoms.get_stress(voigt=False), frame.virial, atol=1e-10)


@pytest.mark.parametrize(("name", "options"), [("a.traj", {}), ("a.db", {}), ("a.extxyz", {}), ("a.json", {}),
                                                ("systems", {}), ("systems", {"mixed": True}), ("a.hdf5", {})])
def test_frames_on_disk_are_written_some_at_a_time_and_alike(tmp_path, monkeypatch, name, options):
    frames = frames_of()
    folder = tmp_path / "whole"
    folder.mkdir()
    written = write_frames(frames, folder / name, **options)
    write_frames(frames, tmp_path / "source.traj")
    stored, _ = open_for_now(str(tmp_path / "source.traj"))
    monkeypatch.setattr(conversion, "BLOCK", 4)
    (tmp_path / "parts").mkdir()
    assert write_frames(stored, tmp_path / "parts" / name, **options) == written
    assert_same(*(read_frames(str(tmp_path / part / name))[0] for part in ("parts", "whole")))
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    assert files
    for path in files:
        same = (folder / path).read_bytes() == (tmp_path / "parts" / path).read_bytes()
        assert same or path.suffix in (".db", ".json", ".traj", ".hdf5")  # which hold the time of writing, or memory


def test_periodic_in_some_directions_only(tmp_path):
    frames = frames_of(pbc=[True, True, False])
    with pytest.raises(DataError, match=r"memory frame 0: expected periodicity in all directions or in none, .* got"):
        write_frames(frames, tmp_path / "s")
    assert_same_folder_is_empty(tmp_path)
    write_frames(frames, tmp_path / "s.traj")
    assert_same(read_frames(str(tmp_path / "s.traj"))[0], frames)


def assert_same_folder_is_empty(folder):
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(("name", "options", "message"), [
    ("a.foo", {}, "a.foo: expected a format of several frames that ASE writes, as .extxyz, .traj or .db, got Unknown"),
    ("s", {"elements": ["O", "H"]}, "expected all elements of the frames among O, H, got Cu"),
])
def test_what_cannot_be_written(tmp_path, name, options, message):
    with pytest.raises(DataError, match=message):
        write_frames(frames_of(), tmp_path / name, **options)
    assert_same_folder_is_empty(tmp_path)


@pytest.mark.parametrize("name", ["there", "there.traj", "there.h5"])
def test_nothing_is_overwritten(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(DataError, match=f"{name}: expected a name that is free, got one that exists"):
        write_frames(frames_of(), tmp_path / name)
    assert (tmp_path / name).read_text() == "mine"


def test_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    frames = frames_of()
    write_frames(frames, "a.traj")
    assert cli.main(["data", "a.traj", "-o", "systems", "--mixed"]) == 0
    assert cli.main(["data", "systems", "-o", "b.db"]) == 0
    out, err = capsys.readouterr()
    assert out == "wrote systems, 7 frames in 3 systems: atoms3 atoms2 atoms3-2\nwrote b.db, 7 frames\n"
    assert err.count('no stress under "stress" in 1 of 7 frames') == 2
    assert_same(read_frames("b.db")[0], frames)
    assert cli.main(["data", "systems", "-o", "b.db"]) == 2
    assert "deeppot: b.db: expected a name that is free" in capsys.readouterr().err
