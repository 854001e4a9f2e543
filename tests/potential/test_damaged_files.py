"""Files that are no model's, or no longer: refused with a line that names them."""

import hashlib
import io
import json
import re
import warnings
import zipfile

import numpy as np
import pytest
import torch
from builders import assert_same_weights, card_as_written, random_model

from ase_deeppot.errors import ModelFileError
from ase_deeppot.potential.archive import CARD, CHECKSUM, WEIGHTS, from_bytes, load_model, to_bytes
from ase_deeppot.potential.card import FORMAT_VERSION

CHANGED = "its card or weights were changed after it was written"


@pytest.fixture(scope="module")
def model():
    return random_model(smallest_distance={"H-O": 0.9})


@pytest.fixture(scope="module")
def content(model):
    return to_bytes(model)


def refused(content, message=None):
    with pytest.raises(ModelFileError, match=message) as caught:
        from_bytes(content, "some/water.pth")
    assert str(caught.value).startswith("some/water.pth: ")
    assert "\n" not in str(caught.value)


def saved(thing):
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return buffer.getvalue()


def rewritten(content, change):
    """The archive with ``change(name, data)`` in place of each entry, or without it where that is None."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for entry in old.infolist():
            data = change(entry.filename, old.read(entry))
            if data is not None:
                new.writestr(entry, data, zipfile.ZIP_STORED)
    return buffer.getvalue()


def with_entries(content, **entries):
    """The archive with other extra files, and a checksum that fits them."""
    names = {"card": CARD, "weights": WEIGHTS, "checksum": CHECKSUM}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        held = {kind: archive.read(f"archive/extra/{name}") for kind, name in names.items()} | entries
    if "checksum" not in entries:
        held["checksum"] = hashlib.sha256(held["card"] + held["weights"]).hexdigest().encode()
    by_name = {f"archive/extra/{names[kind]}": data for kind, data in held.items()}
    return rewritten(content, lambda name, data: by_name.get(name, data))


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
        refused(saved(model.module.state_dict()), "without its card")

    def test_torchscript_of_something_else(self, content):
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.jit.save(torch.jit.load(io.BytesIO(content)), buffer)  # the model, without its card
        refused(buffer.getvalue(), "without its card")

    @pytest.mark.parametrize("part", [1, 10, 1000, 0.3, 0.6, 0.9, 0.999])
    def test_truncated(self, content, part):
        length = part if isinstance(part, int) else int(part * len(content))
        refused(content[:length], "truncated|without its card")

    @pytest.mark.parametrize("where", [0.0, 0.1, 0.5, 0.9])
    def test_cut_out(self, content, where):
        start = int(where * len(content))
        refused(content[:start] + content[start + 100 :])


def test_a_flipped_byte_is_found_or_harmless(model, content):
    rng = np.random.default_rng(0)
    found, expected = 0, card_as_written(model)
    for position in rng.integers(0, len(content), 60):
        damaged = bytearray(content)
        damaged[position] ^= 0x55
        try:
            loaded = from_bytes(bytes(damaged))
        except ModelFileError:
            found += 1
        else:
            assert loaded.card == expected
            assert_same_weights(loaded.module, model.module)
    assert found > 10


@pytest.mark.parametrize("entry", [CARD, WEIGHTS, CHECKSUM])
def test_a_flipped_byte_in_what_is_read_is_found(content, entry):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        data = archive.read(f"archive/extra/{entry}")
    damaged = bytearray(content)
    damaged[content.index(data) + len(data) // 2] ^= 0x01
    refused(bytes(damaged), "Bad CRC-32")


# Of the central directory's record of an entry: offset of a field, and bits to flip.
HEADERS = {"version": (6, 0xFF), "encrypted": (8, 0x01), "patched": (8, 0x20), "compression": (10, 0x55)}


@pytest.mark.parametrize("entry", [CARD, WEIGHTS, CHECKSUM])
@pytest.mark.parametrize("field", HEADERS)
def test_a_damaged_header_is_found(content, entry, field):
    damaged, (offset, bits) = bytearray(content), HEADERS[field]
    damaged[content.rindex(f"archive/extra/{entry}".encode()) - 46 + offset] ^= bits
    refused(bytes(damaged))


@pytest.mark.parametrize("entry", [WEIGHTS, CHECKSUM])
def test_a_damaged_name_is_found(content, entry):
    damaged = bytearray(content)
    damaged[content.index(f"archive/extra/{entry}".encode())] ^= 0xFF
    refused(bytes(damaged))


def test_an_archive_of_several_parts_is_refused(content):
    damaged = bytearray(content)
    damaged[content.rindex(b"PK\x06\x07") + 16] = 2  # number of disks
    refused(bytes(damaged))


class TestChangedFiles:
    def test_newer_format(self, content):
        newer = with_card(content, lambda record: record | {"format_version": FORMAT_VERSION + 1, "new": 1})
        refused(newer, f"expected format version {FORMAT_VERSION}, got {FORMAT_VERSION + 1}; update ase-deeppot")

    def test_older_format(self, content):
        """Version 1 had no entry with the weights."""
        older = with_card(content, lambda record: record | {"format_version": 1})
        older = rewritten(older, lambda name, data: None if name.endswith(WEIGHTS) else data)
        refused(older, f"expected format version {FORMAT_VERSION}, got 1; make it anew")

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
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            state = torch.load(io.BytesIO(archive.read(f"archive/extra/{WEIGHTS}")), weights_only=True)
            checksum = archive.read(f"archive/extra/{CHECKSUM}")
        state["fitting_net.energy_bias"] += 1e-12
        refused(with_entries(content, weights=saved(state), checksum=checksum), CHANGED)

    @pytest.mark.parametrize("entry", [WEIGHTS, CHECKSUM])
    def test_an_entry_that_is_missing(self, content, entry):
        refused(rewritten(content, lambda name, data: None if name.endswith(entry) else data),
                f"expected a complete model file, got .*no {entry}")

    def test_weights_that_cannot_be_read(self, model, content):
        """With a checksum that fits: a file of somebody else's making."""
        state = model.module.state_dict()
        for weights in (b"", b"hello", saved([1, 2]), saved({}), saved(state | {"new": torch.zeros(1)}),
                        saved(state | {"fitting_net.energy_bias": torch.zeros(5)}),
                        saved(random_model(neuron=(4, 6)).module.state_dict()), content):
            refused(with_entries(content, weights=weights), "its weights cannot be read")

    def test_weights_that_are_a_program_do_not_run(self, content, tmp_path):
        class Trap:
            def __reduce__(self):
                return open, (str(tmp_path / "sprung"), "w")

        refused(with_entries(content, weights=saved({"fitting_net.energy_bias": Trap()})), "cannot be read")
        assert not (tmp_path / "sprung").exists()

    def test_unchanged_copy_is_accepted(self, content, model):
        """The rewriting of these tests is not what is refused."""
        for copy in (rewritten(content, lambda name, data: data), with_entries(content)):
            assert from_bytes(copy).card == card_as_written(model)
