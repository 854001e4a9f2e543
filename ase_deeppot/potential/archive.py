"""Model files: a TorchScript archive that runs anywhere, with the card and the trained nets inside.

The program in the archive is the folded model, for whoever loads it with plain ``torch.jit.load``. This package reads
the trained nets, and folds them for the machine and the precision at hand. The only module that touches torch.jit.
"""

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
from ase_deeppot.potential.folding import describe_series, fold

CARD = "ase_deeppot.json"
WEIGHTS = "ase_deeppot.weights"
CHECKSUM = "ase_deeppot.sha256"


class Model(NamedTuple):
    """A model and what is known of it: ``module(types, i, types_j, vectors) -> (energies, gradient)``."""

    module: DeepPotential
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
    folded = fold(model.module)
    text = to_json(replace(model.card, series=describe_series(model.module, folded)))
    weights = io.BytesIO()
    torch.save(model.module.state_dict(), weights)
    extra = {CARD: text, WEIGHTS: weights.getvalue(), CHECKSUM: _checksum(text.encode(), weights.getvalue())}
    buffer = io.BytesIO()
    with _quiet():
        torch.jit.save(script(folded), buffer, _extra_files=extra)
    return buffer.getvalue()


def load_model(path: Union[str, Path], device: str = "cpu", dtype: Union[Precision, None] = None) -> Model:
    """Read a model file of this package alone, as ``interop.load_model`` does, which reads DeePMD-kit's too."""
    return from_bytes(read_model(path), os.fspath(path), device, dtype)


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


def from_bytes(content: bytes, name: str = "model", device: str = "cpu", dtype: Union[Precision, None] = None) -> Model:
    """As :func:`load_model`, from the content of a file; ``name`` is for messages."""
    card = _read_card(content, name)
    try:
        text, weights, checksum = (_extra(content, entry) for entry in (CARD, WEIGHTS, CHECKSUM))
    except Exception as error:  # zipfile raises whatever the damage leads to
        raise ModelFileError(f"{name}: expected a complete model file, got {_first_line(error)}") from error
    if checksum != _checksum(text, weights):
        raise ModelFileError(f"{name}: its card or weights were changed after it was written; train or save it anew")
    config = replace(card.config, precision=dtype or card.config.precision)
    module = DeepPotential(config)
    try:
        state = torch.load(io.BytesIO(weights), map_location="cpu", weights_only=True)
        module.load_state_dict(state)  # copies into the precision asked for
    except Exception as error:  # a file of somebody else's making; torch raises whatever that leads to
        raise ModelFileError(f"{name}: its weights cannot be read: {_first_line(error)}") from error
    return Model(module.to(device).eval(), replace(card, config=config))


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
    if version != FORMAT_VERSION:
        newer = not isinstance(version, int) or version > FORMAT_VERSION
        advice = "update ase-deeppot" if newer else "make it anew with `deeppot freeze`, or train again"
        raise ModelFileError(f"{name}: expected format version {FORMAT_VERSION}, got {version!r}; {advice}")
    try:
        return from_record(record)
    except ValueError as error:
        raise ModelFileError(f"{name}: its card cannot be read: {error}") from error


def _read_record(content: bytes, name: str) -> Any:
    try:
        text = _extra(content, CARD)
    except LookupError as error:
        raise ModelFileError(f"{name}: expected an ase_deeppot model, got an archive without its card: "
                             "truncated, or a file of somebody else's") from error
    except Exception as error:  # zipfile raises whatever the damage leads to
        what = "a truncated or foreign file" if content else "an empty file"
        raise ModelFileError(f"{name}: expected a model file (.pth), got {what} ({_first_line(error)})") from error
    try:
        return json.loads(text.decode("utf-8"))
    except ValueError as error:
        raise ModelFileError(f"{name}: its card is damaged: {_first_line(error)}") from error


def _extra(content: bytes, entry: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [name for name in archive.namelist() if name.endswith("/extra/" + entry)]
        if not names:
            raise LookupError(f"no {entry}")
        return archive.read(names[0])


def _checksum(card: bytes, weights: bytes) -> bytes:
    return hashlib.sha256(card + weights).hexdigest().encode()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class _quiet(warnings.catch_warnings):
    """Keep TorchScript's deprecation warnings from users; that it is deprecated is our concern, not theirs."""

    def __enter__(self) -> Any:
        entered = super().__enter__()
        warnings.filterwarnings("ignore", message=".*torch.jit.*")
        return entered
