"""Writing files so that a crash or a full disk never costs what was there."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary file beside ``path``, flush it to disk, and rename it.

    Raises
    ------
    OSError
        If that fails (no space, no permission); ``path`` is then as it was before.
    """
    with replacing(path) as file:
        file.write(content)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file, to be written and read, that takes the place of ``path`` once the context is left without an error.

    Raises
    ------
    OSError
        As :func:`write_atomically`.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error  # not the name that nobody chose
    finally:
        temporary.unlink(missing_ok=True)
