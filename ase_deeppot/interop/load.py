"""Reading a model file of whichever kind; the kind shows in the content, not in the name."""

import io
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ase_deeppot.errors import ModelFileError
from ase_deeppot.interop import deepmd_torch, deepmd_tree
from ase_deeppot.interop.deepmd_graph import read_graph
from ase_deeppot.interop.foreign import ForeignModel
from ase_deeppot.interop.graph import read_binary, read_text
from ase_deeppot.interop.into_model import to_model
from ase_deeppot.potential import archive
from ase_deeppot.potential.archive import Model, read_model
from ase_deeppot.potential.card import ModelCard
from ase_deeppot.potential.config import Precision
from ase_deeppot.potential.folding import describe_series, fold

HDF5 = b"\x89HDF\r\n\x1a\n"
ZIP = b"PK\x03\x04"
DAMAGE = (LookupError, ValueError, TypeError, AttributeError, OSError, RuntimeError, EOFError, StopIteration,
          AssertionError, ArithmeticError, pickle.UnpicklingError, zipfile.BadZipFile)
Reader = Callable[[bytes, str | None], ForeignModel]


def load_model(path: str | Path, device: str = "cpu", dtype: Precision | None = None, head: str | None = None) -> Model:
    """Read a model file, this package's or DeePMD-kit's.

    Parameters
    ----------
    path : str or Path
        A ``.pth`` file written by this package; or DeePMD-kit's ``.pth``, ``.pt``, ``.dp``, ``.yaml``, ``.pt2``,
        ``.pb``, ``.pbtxt``.
    device : str
        Where the module's tensors are put, ``"cpu"`` or ``"cuda"``.
    dtype : {"float64", "float32"}, optional
        Precision of the nets; that of the file if not given.
    head : str, optional
        Which model of a DeePMD-kit file of several tasks.

    Returns
    -------
    Model
        The trained nets as an eager PyTorch module, and the card. ``engine`` makes a model fast.

    Raises
    ------
    ModelFileError
        If the file is missing, damaged, of another format, or holds a model that cannot be read here.
    """
    return from_bytes(read_model(path), os.fspath(path), device, dtype, head)


def from_bytes(content: bytes, name: str = "model", device: str = "cpu", dtype: Precision | None = None,
               head: str | None = None) -> Model:
    """As :func:`load_model`, from the content of a file; ``name`` is for messages."""
    own = _own(content)
    reader = _reader(content)
    if own is not None or reader is None:
        if head is not None:
            raise ModelFileError(f"{name}: expected a file of several tasks for head {head!r}, got one with a single "
                                 "model")
        return archive.from_bytes(own or content, name, device, dtype)
    try:
        return to_model(reader(content, head), device, dtype)
    except ModelFileError as error:
        raise ModelFileError(f"{name}: {error}") from error
    except DAMAGE as error:  # a file of somebody else's making: whatever it leads to
        what = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelFileError(f"{name}: expected a DeePMD-kit model, got one that is damaged or of a version not known "
                             f"here ({type(error).__name__}: {what[0]})") from error


def read_card(path: str | Path, head: str | None = None) -> ModelCard:
    """The card of a model file; that of a foreign one is made."""
    content = read_model(path)
    if _reader(content) is None and head is None:
        return archive.read_card(path)
    model = from_bytes(content, os.fspath(path), head=head)
    return replace(model.card, series=describe_series(model.module, fold(model.module)))


def _reader(content: bytes) -> Reader | None:
    """What reads a foreign file with this content; None for this package's own, and for what nobody knows."""
    if content.startswith(HDF5):
        return deepmd_tree.read_hdf5
    if content.startswith(ZIP):
        return _zip_reader(content)
    start = content[:4096].lstrip()
    if start.startswith(b"{"):
        return deepmd_tree.read_json
    if re.match(rb"(#.*\n\s*)*(node|versions|library)\s*:?\s*\{", start):
        return lambda content, head: _of_graph(read_text(content), "pbtxt", head)
    if re.search(rb"^['\"]?(@variables|backend|model|model_def_script|software)['\"]?:", start, re.MULTILINE):
        return deepmd_tree.read_yaml
    if re.match(rb"\n.{1,5}\n", content[:16], re.DOTALL):  # a node, whose name comes first
        return lambda content, head: _of_graph(read_binary(content), "pb", head)
    return None


def _own(content: bytes) -> bytes | None:
    """This package's model file inside a ``.dp`` that was exported from here."""
    try:
        return deepmd_tree.native(content) if content.startswith(HDF5) else None
    except DAMAGE:  # said by the reader
        return None


def _of_graph(nodes: dict, kind: str, head: str | None) -> ForeignModel:
    if head is not None:
        raise ModelFileError(f"expected a file of several tasks for head {head!r}, got a TensorFlow graph")
    return read_graph(nodes, kind)


def _zip_reader(content: bytes) -> Reader | None:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as opened:
            names = opened.namelist()
    except zipfile.BadZipFile:
        return None
    if any(name.endswith("/extra/" + archive.CARD) for name in names):
        return None
    trees = [name for name in names if name.endswith("extra/model.json")]
    if trees:
        return lambda content, head: _in_zip(content, lambda opened: deepmd_tree.read_pt2(opened, trees[0], head))
    if not any(name.endswith("/data.pkl") for name in names):
        return None
    if any("/code/" in name for name in names):
        return lambda content, head: _in_zip(content, lambda opened: deepmd_torch.read_frozen(opened, head))
    return deepmd_torch.read_checkpoint


def _in_zip(content: bytes, read: Callable[[zipfile.ZipFile], ForeignModel]) -> ForeignModel:
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        return read(opened)
