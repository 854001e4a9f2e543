"""DeePMD-kit's systems, made by hand: what is read from them, and what is said when they are not as they should be."""

import h5py
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from ase_deeppot.errors import DataError
from ase_deeppot.fitting import read_frames
from ase_deeppot.fitting.systems import is_system, read_systems

BOX = np.array([[4.0, 0.0, 0.0], [1.0, 5.0, 0.0], [0.0, -0.5, 6.0]])
VIRIAL = np.array([[1.0, 0.2, -0.3], [0.2, -2.0, 0.1], [-0.3, 0.1, 3.0]])


def put(folder, **arrays):
    """A system as files: keys with two underscores for the dot and slash of set_000__coord."""
    for key, value in arrays.items():
        path = folder / key.replace("set_", "set.").replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(value, str):
            path.with_name(path.name + ".raw" if path.name.startswith("type") else path.name).write_text(value)
        else:
            np.save(path.with_suffix(path.suffix + ".npy"), value)
    return folder


def water(folder, frames=2, **more):
    """One water molecule, every number different."""
    rng = np.random.default_rng(frames)
    return put(folder, **{
        "type": "0\n1\n1\n", "type_map": "O\nH\n",
        "set_000__coord": rng.normal(size=(frames, 9)), "set_000__box": np.tile(BOX.reshape(1, 9), (frames, 1)),
        "set_000__energy": np.arange(1.0, frames + 1), "set_000__force": rng.normal(size=(frames, 9)),
        "set_000__virial": np.tile(VIRIAL.reshape(1, 9), (frames, 1))} | more)


def test_numbers_of_a_system(tmp_path):
    folder = water(tmp_path / "water")
    first, second = read_systems(folder)
    coordinates, forces = (np.load(folder / f"set.000/{name}.npy").reshape(2, 3, 3) for name in ("coord", "force"))
    assert second.get_chemical_formula("reduce") == "OH2"
    np.testing.assert_array_equal(second.positions, coordinates[1])
    np.testing.assert_array_equal(second.get_forces(), forces[1])
    np.testing.assert_array_equal(second.cell[:], BOX)
    assert second.pbc.all()
    assert [first.get_potential_energy(), second.get_potential_energy()] == [1.0, 2.0]
    np.testing.assert_allclose(second.get_stress(voigt=False), -VIRIAL / 120.0, rtol=1e-15)


def test_sign_of_the_virial(tmp_path):
    """-dE/dstrain, from differences of energies, is read as the stress that EMT has."""
    atoms = bulk("Cu", a=3.4, cubic=True)
    atoms.rattle(0.1, seed=1)
    atoms.calc = EMT()
    virial = np.zeros((3, 3))
    for a, b in np.ndindex(3, 3):
        energies = []
        for step in (1e-5, -1e-5):
            strain = np.eye(3)
            strain[a, b] += step / 2
            strain[b, a] += step / 2
            strained = atoms.copy()
            strained.set_cell(atoms.cell[:] @ strain, scale_atoms=True)
            strained.calc = EMT()
            energies.append(strained.get_potential_energy())
        virial[a, b] = (energies[1] - energies[0]) / 2e-5
    put(tmp_path, type="0 0 0 0", type_map="Cu", set_000__coord=atoms.positions.reshape(1, -1),
        set_000__box=atoms.cell[:].reshape(1, 9), set_000__virial=virial.reshape(1, 9))
    (read,) = read_systems(tmp_path)
    np.testing.assert_allclose(read.get_stress(), atoms.get_stress(), atol=1e-7)
    frames, _ = read_frames(str(tmp_path))
    np.testing.assert_allclose(frames.virials[0], virial, atol=1e-6)


def test_sets_in_order_and_energies_as_a_column(tmp_path):
    folder = water(tmp_path, 1, set_000__energy=np.array([[5.0]]))
    coordinates, box = np.ones((2, 9)), np.tile(BOX.reshape(1, 9), (2, 1))
    put(folder, set_001__coord=coordinates, set_001__box=box, set_001__energy=np.array([6.0, 7.0]))
    frames, (report,) = read_frames(str(folder))
    np.testing.assert_array_equal(frames.energies, [5.0, 6.0, 7.0])
    assert (report.frames, report.energies, report.forces, report.virials) == (3, 3, 1, 1)


@pytest.mark.parametrize("box", [False, True])
def test_system_without_periodicity(tmp_path, box):
    folder = water(tmp_path, 1, nopbc="")
    if not box:
        (folder / "set.000/box.npy").unlink()
    (atoms,) = read_systems(folder)
    assert not atoms.pbc.any()
    if box:
        np.testing.assert_allclose(atoms.get_stress(voigt=False), -VIRIAL / 120.0, rtol=1e-15)
    else:
        assert "stress" not in atoms.calc.results
        np.testing.assert_array_equal(atoms.info["virial"], VIRIAL)


def test_mixed_types_with_empty_places(tmp_path):
    folder = water(tmp_path, 2, set_000__real_atom_types=np.array([[1, 0, -1], [0, 0, 1]]))
    (folder / "type.raw").write_text("0 0 0")
    first, second = read_systems(folder)
    forces = np.load(folder / "set.000/force.npy").reshape(2, 3, 3)
    assert (str(first.symbols), list(second.symbols)) == ("HO", ["O", "O", "H"])
    np.testing.assert_array_equal(first.get_forces(), forces[0, :2])
    assert len(first.positions) == 2


@pytest.mark.parametrize("text", [h5py.string_dtype(), "S2"], ids=["text", "bytes"])
@pytest.mark.parametrize("place", ["", "data/water"])
def test_hdf5(tmp_path, place, text):
    folder = water(tmp_path / "folder")
    with h5py.File(tmp_path / "water.hdf5", "w") as file:
        group = file.require_group(place or "/")
        group["type.raw"] = [0, 1, 1]
        group.create_dataset("type_map.raw", data=["O", "H"], dtype=text)
        for path in folder.glob("set.000/*.npy"):
            group[f"set.000/{path.name}"] = np.load(path)
    for got, expected in zip(read_systems(tmp_path / "water.hdf5"), read_systems(folder), strict=True):
        assert got == expected
        for key, value in expected.calc.results.items():
            np.testing.assert_array_equal(got.calc.results[key], value)


def test_systems_are_sources(tmp_path, monkeypatch):
    """Folders of systems, patterns, slices and HDF5 files, beside others."""
    monkeypatch.chdir(tmp_path)
    for n in range(3):
        water(tmp_path / "data" / f"water_{n}", n + 1)
    assert read_frames("data")[0].count == 6
    assert read_frames("data@-2:")[0].count == 2
    frames, reports = read_frames(["data/water_[12]", "data/water_0@:1"])
    assert frames.count == 6
    assert [report.name for report in reports] == ["data/water_1", "data/water_2", "data/water_0@:1"]
    assert frames.label(5) == "data/water_0@:1 frame 0"


def test_what_is_a_system(tmp_path):
    water(tmp_path / "a" / "b")
    (tmp_path / "c").mkdir()
    assert is_system(tmp_path)
    assert is_system(tmp_path / "a" / "b")
    assert not is_system(tmp_path / "c")
    assert not is_system(tmp_path / "none.h5")


@pytest.mark.parametrize(("change", "message"), [
    ({"type_map": "O\nWater\n"}, "water: expected chemical symbols in type_map.raw, got Water"),
    ({"type_map": "O\n"}, "water/set.000 frame 0: expected types below 1, the number of elements in type_map.raw"),
    ({"type": "0 1 H"}, "water: expected whole numbers in type.raw, got "),
    ({"type": "0 1"}, r"water/set.000/coord.npy: expected numbers of shape \(2, 2, 3\), got float64 of shape \(2, 9\)"),
    ({"set_000__force": np.zeros((1, 9))}, r"force.npy: expected numbers of shape \(2, 3, 3\), got"),
    ({"set_000__virial": np.tile(np.arange(9.0), (2, 1))}, "set.000 frame 0: expected a symmetric virial, got"),
    ({"set_000__energy": np.array(["a", "b"])}, "energy.npy: expected numbers of shape"),
    ({"set_000__energy": np.array([np.nan, 1.0])}, "water frame 0: expected finite numbers under 'energy', got nan"),
])
def test_system_that_is_not_as_expected(tmp_path, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    water(tmp_path / "water", **change)
    with pytest.raises(DataError, match=message):
        read_frames("water")


@pytest.mark.parametrize(("missing", "message"), [
    ("type_map.raw", "water: expected type_map.raw with the element of each type, got none: write one, as 'O H'"),
    ("set.000/coord.npy", "water/set.000: expected coord.npy, got none"),
    ("set.000/box.npy", "water/set.000: expected box.npy of a periodic system, got none"),
])
def test_what_a_system_lacks(tmp_path, monkeypatch, missing, message):
    monkeypatch.chdir(tmp_path)
    (water(tmp_path / "water") / missing).unlink()
    with pytest.raises(DataError, match=message):
        read_frames("water")


def test_pickled_objects_are_not_loaded(tmp_path):
    folder = water(tmp_path)
    np.save(folder / "set.000/energy.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="Python objects in dtype"):
        read_frames(str(folder))


def test_hdf5_without_systems(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = [1.0]
    with pytest.raises(DataError, match=r"other.h5: expected DeePMD-kit systems in an HDF5 file, got none"):
        read_frames(str(tmp_path / "other.h5"))
