"""The state of a training run in one file, from which it goes on with the same numbers."""

import io
import json
import zipfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ase_deeppot.config import parse
from ase_deeppot.errors import ModelFileError
from ase_deeppot.files import write_atomically
from ase_deeppot.fitting.config import FittingConfig
from ase_deeppot.fitting.learning_curve import Row, SourceRow
from ase_deeppot.potential.archive import Model
from ase_deeppot.potential.card import ModelCard, from_record, to_json
from ase_deeppot.potential.deep_potential import DeepPotential

FORMAT = "ase_deeppot checkpoint"
FORMAT_VERSION = 2


class Best(NamedTuple):
    """The best model so far."""

    step: int
    loss: float  # of the validation, by which it is the best
    weights: dict[str, torch.Tensor]


class Checkpoint(NamedTuple):
    """Everything that the next step depends on."""

    step: int  # steps done
    config: FittingConfig
    card: ModelCard  # of the model if training stopped here
    weights: dict[str, Any]
    optimizers: list[dict[str, Any]]
    running: torch.Tensor  # [6] float64, sums of the learning curve's next line
    rows: list[Row]  # the learning curve so far
    by_source: list[SourceRow]  # and for each source of validation frames
    best: Best | None  # None before the first validation, or without validation frames
    seconds: float  # spent so far


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all.

    Raises
    ------
    OSError
        If it cannot be written; the previous checkpoint is then untouched.
    """
    record = checkpoint._asdict() | {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "config": json.dumps(asdict(checkpoint.config)),
        "card": to_json(checkpoint.card),
        # PyTorch reads plain containers only
        "rows": [list(row) for row in checkpoint.rows],
        "by_source": [list(row) for row in checkpoint.by_source],
        "best": checkpoint.best and checkpoint.best._asdict(),
    }
    buffer = io.BytesIO()
    torch.save(record, buffer)
    write_atomically(path, buffer.getvalue())


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    ModelFileError
        If the file is missing, truncated, no checkpoint of ours, or of another version.
    """
    record = _read(Path(path))
    if record["format_version"] > FORMAT_VERSION:
        raise ModelFileError(f"{path}: expected checkpoint version {FORMAT_VERSION} or older, got "
                             f"{record['format_version']}; update ase-deeppot")
    try:
        fields = {key: record[key] for key in Checkpoint._fields}
        fields["config"] = parse(FittingConfig, json.loads(record["config"]))
        fields["card"] = from_record(json.loads(record["card"]))
        fields["rows"] = [Row(*row) for row in record["rows"]]
        fields["by_source"] = [SourceRow(*row) for row in record["by_source"]]
        fields["best"] = record["best"] and Best(**record["best"])
    except (KeyError, ValueError, TypeError) as error:
        raise ModelFileError(f"{path}: expected a checkpoint of this version of ase-deeppot, got another: "
                             f"{error}") from error
    return Checkpoint(**fields)


def model_of(checkpoint: Checkpoint, best: bool = False) -> Model:
    """The model as it stands in a checkpoint, or the best one so far.

    Raises
    ------
    ModelFileError
        If the best is asked for and there was no validation yet.
    """
    if best and checkpoint.best is None:
        raise ModelFileError("expected a checkpoint with a best model, got one from before the first validation")
    step, weights = (checkpoint.best.step, checkpoint.best.weights) if best and checkpoint.best else (
        checkpoint.step, checkpoint.weights)
    record = {"steps": step, "seconds": round(checkpoint.seconds, 1)}
    card = replace(checkpoint.card, training=checkpoint.card.training | record)
    return model_with(weights, card)


def model_with(weights: dict[str, Any], card: ModelCard) -> Model:
    """A model of a card and its weights."""
    module = DeepPotential(card.config)
    module.load_state_dict(weights)
    return Model(module.eval(), card)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"cannot read checkpoint {path}: {error.strerror}") from error
    try:
        damaged = zipfile.ZipFile(io.BytesIO(content)).testzip()  # PyTorch does not look at the checksums
        record = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # both raise whatever the damage leads to
        raise ModelFileError(f"{path}: expected a checkpoint, got a truncated or foreign file") from error
    if damaged:
        raise ModelFileError(f"{path}: expected a checkpoint, got one with a wrong checksum in its part {damaged}")
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ModelFileError(f"{path}: expected an ase_deeppot checkpoint, got another PyTorch file")
    return record
