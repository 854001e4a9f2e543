"""Model files: what goes in comes out, and nothing else is taken for one."""

import dataclasses
import io
import json
import re
import subprocess
import sys
import warnings
import zipfile

import numpy as np
import pytest
import torch
from builders import predict, random_atoms, random_model

from ase_deeppot.errors import ModelFileError
from ase_deeppot.potential import archive
from ase_deeppot.potential.archive import CARD, from_bytes, load_model, read_card, save_model, to_bytes
from ase_deeppot.potential.card import FORMAT_VERSION

CHANGED = "its card or weights were changed after it was written"


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


def assert_same_weights(got, expected):
    got, expected = got.state_dict(), expected.state_dict()
    assert list(got) == list(expected)
    for key in expected:
        assert got[key].dtype == expected[key].dtype
        assert torch.equal(got[key], expected[key]), key


class TestRoundTrip:
    @pytest.mark.parametrize("scripted", [True, False])
    def test_bitwise(self, model, path, scripted):
        loaded = load_model(path, scripted=scripted)
        assert loaded.card == model.card
        assert_same_weights(loaded.module, model.module)
        assert isinstance(loaded.module, torch.jit.ScriptModule) == scripted
        assert not loaded.module.training

    def test_eager_gives_equal_numbers(self, model, path):
        atoms = random_atoms(8)
        for got, expected in zip(predict(load_model(path), atoms), predict(model, atoms), strict=True):
            np.testing.assert_array_equal(got, expected)

    def test_saving_what_was_loaded_keeps_weights_and_card(self, model, path, tmp_path):
        for scripted in (True, False):
            save_model(tmp_path / "again.pth", load_model(path, scripted=scripted))
            again = load_model(tmp_path / "again.pth")
            assert again.card == model.card
            assert_same_weights(again.module, model.module)

    def test_from_bytes_equals_from_file(self, content, path):
        assert from_bytes(content).card == load_model(path).card == read_card(path)

    @pytest.mark.parametrize("options", [{"type_one_side": False, "resnet_dt": True, "activation": "gelu"},
                                         {"type_map": ("Cu",), "fitting_neuron": (), "fitting_resnet_dt": False}])
    def test_other_shapes(self, options):
        model = random_model(**options)
        loaded, atoms = from_bytes(to_bytes(model)), random_atoms(5, model.card.type_map)
        np.testing.assert_array_equal(predict(loaded, atoms).forces, predict(model, atoms).forces)


def test_plain_torch_runs_the_file_in_a_process_without_this_package(model, path, tmp_path):
    vectors = torch.tensor([[1.0, 0.2, 0.0], [-1.0, -0.2, 0.0]], dtype=torch.float64)
    arguments = (torch.tensor([0, 1]), torch.tensor([0, 1]), torch.tensor([1, 0]), vectors)
    torch.save(arguments, tmp_path / "in.pt")
    code = ("import sys, torch; m = torch.jit.load(sys.argv[1]); a = torch.load(sys.argv[2]);"
            "torch.save([t.detach() for t in m(*a)], sys.argv[3]); assert 'ase_deeppot' not in sys.modules")
    subprocess.run([sys.executable, "-c", code, path, tmp_path / "in.pt", tmp_path / "out.pt"], check=True,
                   cwd=tmp_path)
    for got, expected in zip(torch.load(tmp_path / "out.pt"), model.module(*arguments), strict=True):
        np.testing.assert_allclose(got.numpy(), expected.detach().numpy(), rtol=1e-11)


class TestPrecision:
    def test_is_that_of_the_file_if_not_asked_for(self):
        loaded = from_bytes(to_bytes(random_model(precision="float32")))
        assert loaded.card.config.precision == "float32"
        assert next(loaded.module.parameters()).dtype == torch.float32

    @pytest.mark.parametrize("scripted", [True, False])
    def test_can_be_changed(self, model, path, scripted):
        loaded, atoms = load_model(path, dtype="float32", scripted=scripted), random_atoms(8)
        assert loaded.card == dataclasses.replace(
            model.card, config=dataclasses.replace(model.card.config, precision="float32"))
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


def refused(content, message=None):
    with pytest.raises(ModelFileError, match=message) as caught:
        from_bytes(content, "some/water.pth")
    assert str(caught.value).startswith("some/water.pth: ")
    assert "\n" not in str(caught.value)


def rewritten(content, change):
    """The archive with ``change(name, data)`` in place of each entry."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for entry in old.infolist():
            new.writestr(entry, change(entry.filename, old.read(entry)), zipfile.ZIP_STORED)
    return buffer.getvalue()


def with_card(content, edit):
    """The archive with an edited card."""
    def change(name, data):
        if not name.endswith("/" + CARD):
            return data
        record = json.loads(data)
        edited = edit(record)
        return json.dumps(record if edited is None else edited).encode()
    return rewritten(content, change)


class TestForeignFiles:
    def test_missing(self, tmp_path):
        with pytest.raises(ModelFileError, match=re.escape(f"cannot read model {tmp_path / 'no.pth'}: No such file")):
            load_model(tmp_path / "no.pth")

    def test_folder(self, tmp_path):
        with pytest.raises(ModelFileError, match="Is a directory"):
            load_model(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"energy -1.0\n", b"\x80\x04K\x01."], ids=["empty", "text", "pickle"])
    def test_no_archive(self, content):
        refused(content, "empty file" if not content else "truncated or foreign file")

    def test_another_archive(self):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as other:
            other.writestr("data.txt", "hello")
        refused(buffer.getvalue(), "without its card")

    def test_state_dict(self, model):
        buffer = io.BytesIO()
        torch.save(model.module.state_dict(), buffer)
        refused(buffer.getvalue(), "without its card")

    def test_torchscript_of_something_else(self, content):
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.jit.save(torch.jit.load(io.BytesIO(content)), buffer)  # the model, without its card
        refused(buffer.getvalue(), "without its card")

    @pytest.mark.parametrize("part", [1, 10, 1000, 0.3, 0.6, 0.9, 0.999])
    def test_truncated(self, content, part):
        length = part if isinstance(part, int) else int(part * len(content))
        refused(content[:length], "truncated or foreign file")

    def test_cut_at_the_start_or_in_the_middle(self, content):
        half = len(content) // 2
        for damaged in (content[100:], content[:half] + content[half + 64 :]):
            refused(damaged)


def test_a_flipped_byte_is_found_or_harmless(model, content):
    rng = np.random.default_rng(0)
    found = 0
    for position in rng.integers(0, len(content), 60):
        damaged = bytearray(content)
        damaged[position] ^= 0x55
        try:
            loaded = from_bytes(bytes(damaged))
        except ModelFileError:
            found += 1
        else:
            assert loaded.card == model.card
            assert_same_weights(loaded.module, model.module)
    assert found > 10


class TestChangedFiles:
    def test_newer_format(self, content):
        newer = with_card(content, lambda record: record | {"format_version": FORMAT_VERSION + 1, "new": 1})
        refused(newer, f"expected format version {FORMAT_VERSION} or older, got {FORMAT_VERSION + 1}; update")

    def test_another_format(self, content):
        refused(with_card(content, lambda record: record | {"format": "other"}), "got format 'other'")
        refused(with_card(content, lambda record: {}), "got format None")

    @pytest.mark.parametrize("card", [[1, 2], "text", None])
    def test_card_that_is_no_table(self, content, card):
        refused(rewritten(content, lambda name, data: json.dumps(card).encode() if name.endswith(CARD) else data))

    @pytest.mark.parametrize("version", ["1", None, 1.5])
    def test_version_that_is_no_number(self, content, version):
        refused(with_card(content, lambda record: record | {"format_version": version}), "version")

    def test_card_that_is_no_json(self, content):
        for text in (b"{", b"\xff\xfe", b""):
            refused(rewritten(content, lambda name, data, text=text: text if name.endswith(CARD) else data),
                    "its card is damaged")

    def test_unknown_and_wrong_entries(self, content):
        refused(with_card(content, lambda record: record | {"colour": 1}), "cannot be read: unknown option 'colour'")
        refused(with_card(content, lambda record: record | {"config": 3}), "card cannot be read: expected a table")

    @pytest.mark.parametrize(("key", "value"), [("rcut", 5.0), ("type_map", ["O", "H"]), ("precision", "float32")])
    def test_edited_configuration(self, content, key, value):
        refused(with_card(content, lambda record: record["config"].update({key: value})), CHANGED)

    def test_edited_training_record(self, content):
        refused(with_card(content, lambda record: record["training"].update(steps=10**9)), CHANGED)

    def test_edited_weights(self, content):
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            extra = {CARD: "", archive.CHECKSUM: ""}
            module = torch.jit.load(io.BytesIO(content), _extra_files=extra)
            module.fitting_net.energy_bias += 1e-12
            torch.jit.save(module, buffer, _extra_files=extra)
        refused(buffer.getvalue(), CHANGED)

    def test_removed_checksum(self, content):
        buffer = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
            for entry in old.infolist():
                if not entry.filename.endswith(archive.CHECKSUM):
                    new.writestr(entry, old.read(entry))
        refused(buffer.getvalue())

    def test_unchanged_copy_is_accepted(self, content, model):
        """The rewriting of these tests is not what is refused."""
        assert from_bytes(rewritten(content, lambda name, data: data)).card == model.card


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
