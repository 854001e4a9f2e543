"""Model files: one TorchScript archive with the card as JSON inside. The only module that touches torch.jit."""

import hashlib
import io
import json
import os
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any, ContextManager, NamedTuple, Union

import torch
from torch import nn

from ase_deeppot.errors import ModelFileError
from ase_deeppot.files import write_atomically
from ase_deeppot.potential.card import FORMAT, FORMAT_VERSION, ModelCard, from_record, to_json
from ase_deeppot.potential.config import Precision
from ase_deeppot.potential.deep_potential import DeepPotential

CARD = "ase_deeppot.json"
CHECKSUM = "ase_deeppot.sha256"


class Model(NamedTuple):
    """A model ready to run: ``module(types, i, types_j, vectors) -> (energies, gradient)``, and its card."""

    module: nn.Module
    card: ModelCard


def save_model(path: Union[str, Path], model: Model) -> None:
    """Write a model file, whole or not at all.

    Raises
    ------
    OSError
        If the file cannot be written; a file that was there before is then untouched.
    """
    write_atomically(Path(path), to_bytes(model))


def to_bytes(model: Model) -> bytes:
    """Content of the model's file; plain ``torch.jit.load`` runs it."""
    text = to_json(model.card)
    buffer = io.BytesIO()
    with _quiet():
        scripted = script(model.module)
        extra = {CARD: text, CHECKSUM: _checksum(text, scripted)}
        torch.jit.save(scripted, buffer, _extra_files=extra)
    return buffer.getvalue()


def load_model(path: Union[str, Path], device: str = "cpu", dtype: Union[Precision, None] = None,
               scripted: bool = False) -> Model:
    """Read a model file.

    Parameters
    ----------
    path : str or Path
        A ``.pth`` file written by this package.
    device : str
        Where the model runs, ``"cpu"`` or ``"cuda"``.
    dtype : {"float64", "float32"}, optional
        Precision of the nets; that of the file if not given.
    scripted : bool
        Return the TorchScript module instead of the eager one that is rebuilt from the card and the weights.

    Raises
    ------
    ModelFileError
        If the file is missing, truncated, foreign, of a newer format, or was changed after it was written.
    """
    return from_bytes(read_model(path), os.fspath(path), device, dtype, scripted)


def read_model(path: Union[str, Path]) -> bytes:
    """Content of a model file.

    Raises
    ------
    ModelFileError
        If there is no such file, or it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ModelFileError(f"cannot read model {os.fspath(path)}: {error.strerror}") from error


def from_bytes(content: bytes, name: str = "model", device: str = "cpu", dtype: Union[Precision, None] = None,
               scripted: bool = False) -> Model:
    """As :func:`load_model`, from the content of a file; ``name`` is for messages."""
    card = _read_card(content, name)
    try:
        with _quiet():
            module = torch.jit.load(io.BytesIO(content), map_location="cpu")
    except Exception as error:  # torch.jit.load raises whatever the damage leads to
        raise ModelFileError(f"{name}: expected a complete model file, got {_first_line(error)}") from error
    if _stored_checksum(content) != _checksum(to_json(card), module):
        raise ModelFileError(f"{name}: its card or weights were changed after it was written; train or save it anew")
    if scripted and dtype in (None, card.config.precision):
        return Model(module.to(device).eval(), card)
    eager = rebuild(module, card, dtype or card.config.precision, device)
    return Model(script(eager.module), eager.card) if scripted else eager


def rebuild(module: nn.Module, card: ModelCard, precision: Precision, device: str = "cpu") -> Model:
    """The eager model of a card with the weights of ``module``, in the precision asked for."""
    config = replace(card.config, precision=precision)
    eager = DeepPotential(config)
    eager.load_state_dict(module.state_dict())  # copies into the new precision
    return Model(eager.to(device).eval(), replace(card, config=config))


def script(module: nn.Module) -> nn.Module:
    """Compile with TorchScript; a scripted module is returned as it is."""
    if isinstance(module, torch.jit.ScriptModule):
        return module
    with _quiet():
        return torch.jit.script(module.eval())


def as_written() -> ContextManager[None]:
    """Context in which scripted modules run as they are: TorchScript's optimiser costs the first calls, for no gain."""
    context: ContextManager[None] = torch.jit.optimized_execution(False)
    return context


def read_card(path: Union[str, Path]) -> ModelCard:
    """The card of a model file, without loading the model."""
    return _read_card(read_model(path), os.fspath(path))


def _read_card(content: bytes, name: str) -> ModelCard:
    record = _read_record(content, name)
    kind = record.get("format") if isinstance(record, dict) else record
    if kind != FORMAT:
        raise ModelFileError(f"{name}: expected an ase_deeppot model, got format {kind!r}")
    version = record.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise ModelFileError(f"{name}: expected format version {FORMAT_VERSION} or older, got {version!r}; "
                             "update ase-deeppot")
    try:
        return from_record(record)
    except ValueError as error:
        raise ModelFileError(f"{name}: its card cannot be read: {error}") from error


def _read_record(content: bytes, name: str) -> Any:
    if not zipfile.is_zipfile(io.BytesIO(content)):
        what = "an empty file" if not content else "a truncated or foreign file"
        raise ModelFileError(f"{name}: expected a model file (.pth), got {what}")
    try:
        return json.loads(_extra(content, CARD))
    except KeyError as error:
        raise ModelFileError(f"{name}: expected an ase_deeppot model, got an archive without its card; a plain "
                             "PyTorch or DeePMD-kit file cannot be read yet") from error
    except (ValueError, zipfile.BadZipFile) as error:
        raise ModelFileError(f"{name}: its card is damaged: {_first_line(error)}") from error


def _extra(content: bytes, entry: str) -> str:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [name for name in archive.namelist() if name.endswith("/extra/" + entry)]
        if not names:
            raise KeyError(entry)
        return archive.read(names[0]).decode("utf-8")


def _stored_checksum(content: bytes) -> str:
    try:
        return _extra(content, CHECKSUM)
    except KeyError:
        return ""


def _checksum(card: str, module: nn.Module) -> str:
    digest = hashlib.sha256(card.encode("utf-8"))
    for key, value in sorted(module.state_dict().items()):
        digest.update(key.encode("utf-8"))
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class _quiet(warnings.catch_warnings):
    """Keep TorchScript's deprecation warnings from users; that it is deprecated is our concern, not theirs."""

    def __enter__(self) -> Any:
        entered = super().__enter__()
        warnings.filterwarnings("ignore", message=".*torch.jit.*")
        return entered
