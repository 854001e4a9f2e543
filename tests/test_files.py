import os
import stat

import pytest

from ase_deeppot.files import write_atomically


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "a.bin"
    for content in (b"first", b"", b"\x00\xff" * 1000):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failing", ["fsync", "write", "replace", "interrupt"])
def test_any_failure_leaves_what_was_there_and_nothing_else(tmp_path, monkeypatch, failing):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    error = KeyboardInterrupt() if failing == "interrupt" else OSError(28, "No space left on device")

    def fail(*args, **kwargs):
        raise error

    if failing == "write":
        content = memoryview(bytearray(b"new"))[::2]  # not contiguous: write() refuses it
        error = BufferError()
    else:
        content = b"new"
        target = "pathlib.Path.replace" if failing == "replace" else "os.fsync"
        monkeypatch.setattr(target, fail)
    with pytest.raises(type(error)):
        write_atomically(path, content)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_first_write_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(OSError, match="Input/output error"):
        write_atomically(tmp_path / "a.bin", b"new")
    assert list(tmp_path.iterdir()) == []


def test_content_is_on_disk_before_the_name(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, type(tmp_path).replace
    monkeypatch.setattr("os.fsync", lambda descriptor: (order.append("fsync"), fsync(descriptor))[1])
    monkeypatch.setattr("pathlib.Path.replace", lambda self, to: (order.append("replace"), replace(self, to))[1])
    write_atomically(tmp_path / "a.bin", b"x")
    assert order == ["fsync", "replace"]


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "no" / "a.bin", b"x")


def test_file_can_be_read_by_others(tmp_path):
    """As an ordinary file with the user's umask, not as mkstemp's 0600."""
    write_atomically(tmp_path / "a.bin", b"x")
    (tmp_path / "b.bin").write_bytes(b"x")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.bin", "b.bin")]
    assert modes[0] == modes[1]
