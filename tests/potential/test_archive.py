"""Model files: what goes in comes out."""

import dataclasses
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from builders import (
    assert_same_weights,
    card_as_written,
    pairs_in,
    predict,
    random_atoms,
    random_model,
    types_in,
)

from ase_deeppot.potential.archive import from_bytes, load_model, read_card, save_model, script, to_bytes
from ase_deeppot.potential.deep_potential import DeepPotential
from ase_deeppot.potential.folding import fold


@pytest.fixture(scope="module")
def model():
    return random_model(smallest_distance={"H-O": 0.9})


@pytest.fixture(scope="module")
def content(model):
    return to_bytes(model)


@pytest.fixture
def path(tmp_path, content):
    path = tmp_path / "water.pth"
    path.write_bytes(content)
    return path


class TestRoundTrip:
    def test_bitwise(self, model, path):
        loaded = load_model(path)
        assert loaded.card == card_as_written(model)
        assert_same_weights(loaded.module, model.module)
        assert type(loaded.module) is DeepPotential
        assert not loaded.module.training

    @pytest.mark.parametrize("way", [{"eager": True}, {"compiled": False}])
    def test_gives_equal_numbers(self, model, path, way):
        atoms = random_atoms(8)
        for got, expected in zip(predict(load_model(path), atoms, **way), predict(model, atoms, **way), strict=True):
            np.testing.assert_array_equal(got, expected)

    def test_saving_what_was_loaded_keeps_weights_and_card(self, model, path, tmp_path):
        save_model(tmp_path / "again.pth", load_model(path))
        again = load_model(tmp_path / "again.pth")
        assert again.card == card_as_written(model)
        assert_same_weights(again.module, model.module)

    def test_from_bytes_equals_from_file(self, content, path):
        assert from_bytes(content).card == load_model(path).card == read_card(path)

    @pytest.mark.parametrize("options", [{"type_one_side": False, "resnet_dt": True, "activation": "gelu"},
                                         {"type_map": ("Cu",), "fitting_neuron": (), "fitting_resnet_dt": False}])
    def test_other_shapes(self, options):
        model = random_model(**options)
        loaded, atoms = from_bytes(to_bytes(model)), random_atoms(5, model.card.type_map)
        np.testing.assert_array_equal(predict(loaded, atoms, eager=True).forces,
                                      predict(model, atoms, eager=True).forces)

    def test_a_series_that_was_described_before_is_described_anew(self, model):
        stale = model._replace(card=dataclasses.replace(model.card, series={"reach": 77.0}))
        assert from_bytes(to_bytes(stale)).card == card_as_written(model)


class TestProgram:
    """What plain PyTorch makes of the file."""

    @pytest.mark.parametrize("options", [{}, {"precision": "float32", "type_one_side": False}])
    def test_runs_in_a_process_without_this_package(self, options, tmp_path):
        model, atoms = random_model(**options), random_atoms(8)
        save_model(tmp_path / "model.pth", model)
        pairs, types = pairs_in(model, atoms), types_in(model, atoms)
        arguments = [torch.from_numpy(array) for array in (types, pairs.i, types[pairs.j], pairs.vectors)]
        torch.save(arguments, tmp_path / "in.pt")
        code = ("import torch, sys; m = torch.jit.load('model.pth'); a = torch.load('in.pt', weights_only=True);"
                "torch.save([m(*a) for _ in range(3)], 'out.pt'); assert 'ase_deeppot' not in sys.modules")
        subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
        expected, tolerance = fold(model.module)(*arguments), 1e-4 if options else 1e-11
        for got in torch.load(tmp_path / "out.pt", weights_only=True):
            torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)

    def test_scripting_a_scripted_module_returns_it(self, model):
        scripted = script(fold(model.module))
        assert script(scripted) is scripted


class TestPrecision:
    def test_is_that_of_the_file_if_not_asked_for(self):
        loaded = from_bytes(to_bytes(random_model(precision="float32")))
        assert loaded.card.config.precision == "float32"
        assert next(loaded.module.parameters()).dtype == torch.float32

    def test_can_be_changed(self, model, path):
        loaded, atoms = load_model(path, dtype="float32"), random_atoms(8)
        assert loaded.card == dataclasses.replace(
            card_as_written(model), config=dataclasses.replace(model.card.config, precision="float32"))
        assert {p.dtype for p in loaded.module.parameters()} == {torch.float32}
        assert {b.dtype for b in loaded.module.buffers()} == {torch.float64}
        error = abs(predict(loaded, atoms).forces - predict(model, atoms).forces).max()
        assert 0 < error < 1e-3

    def test_float32_to_float64_is_exact(self):
        single, atoms = random_model(precision="float32"), random_atoms(8)
        double = from_bytes(to_bytes(single), dtype="float64")
        for key, value in double.module.state_dict().items():
            assert torch.equal(value, single.module.state_dict()[key].double())
        np.testing.assert_allclose(predict(double, atoms).forces, predict(single, atoms).forces, atol=1e-3)


class TestSaving:
    def test_failure_leaves_the_old_file(self, model, path, monkeypatch):
        before = path.read_bytes()

        def full(descriptor):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            save_model(path, random_model(seed=9))
        assert path.read_bytes() == before
        assert list(path.parent.iterdir()) == [path]

    def test_replaces_a_file(self, path):
        other = random_model(seed=9)
        save_model(path, other)
        assert_same_weights(load_model(path).module, other.module)
        assert list(path.parent.iterdir()) == [path]

    def test_a_card_that_json_cannot_hold_is_refused_before_writing(self, model, path):
        before = path.read_bytes()
        with pytest.raises(ValueError, match="Out of range float"):
            save_model(path, model._replace(card=dataclasses.replace(model.card, training={"loss": float("nan")})))
        assert path.read_bytes() == before


def test_users_see_no_warning(path):
    """Import, load, calculate, pickle, save: with warnings as errors, in a fresh process."""
    code = """
import sys, pickle, ase_deeppot
from ase import Atoms
from ase_deeppot.potential.archive import save_model
atoms = Atoms("OH", [[0, 0, 0], [0, 0, 1]], calculator=ase_deeppot.DeepPotCalculator(sys.argv[1]))
atoms.get_forces()
pickle.loads(pickle.dumps(atoms)).get_forces()
save_model(sys.argv[1], ase_deeppot.load_model(sys.argv[1], dtype="float32"))
"""
    result = subprocess.run([sys.executable, "-W", "error", "-c", code, path], capture_output=True, text=True)
    assert result.stderr == ""
    assert result.returncode == 0


def test_filters_of_the_user_are_left_alone(path):
    before = list(warnings.filters)
    load_model(path)
    assert warnings.filters == before
