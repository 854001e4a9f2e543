"""A model with polynomials brought to other frames: least squares, and no steps."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ase_deeppot.fitting import report
from ase_deeppot.fitting.finish import MODEL, FitResult, say_errors, with_errors
from ase_deeppot.fitting.polynomials import refit_polynomials
from ase_deeppot.fitting.preparation import Prepared
from ase_deeppot.fitting.trainer import TrainingError
from ase_deeppot.fitting.validation import Validation, validate
from ase_deeppot.potential.archive import Model, save_model


def refit(prepared: Prepared, log: Callable[[str], None]) -> FitResult:
    """Write ``model.pth``, with other weights if these are better on the validation frames, or nothing tells.

    Raises
    ------
    TrainingError
        If the model cannot be written.
    """
    config, began = prepared.config, time.perf_counter()
    path = Path(config.output) / MODEL
    log("init_model has polynomials: least squares change their weights, and no steps are done")
    model, found = _better(Model(prepared.model.eval(), prepared.card), prepared, log)
    record = {"steps": 0, "steps_done": 0, "seconds": round(time.perf_counter() - began, 1)}
    model = model._replace(card=replace(model.card, training=model.card.training | record))
    try:
        save_model(path, model)
    except OSError as error:
        raise TrainingError(f"could not write {path} ({error.strerror}): make room and start again") from error
    log(f"wrote {path}")
    if config.monitor.report:
        report.write(path.parent, [], prepared, model, log)
    return FitResult(path, True, found.accuracy if found else ())


def _better(given: Model, prepared: Prepared, log: Callable[[str], None]) -> tuple[Model, Validation | None]:
    """The model after least squares, or as it was."""
    held_out, config = prepared.validation, prepared.config
    solved, found = refit_polynomials(given, prepared.train, held_out, config, log)
    if held_out is None or found is None:
        return solved, None
    before = validate(given, held_out, config.loss)
    better = found.loss < before.loss
    kept = "" if better else ": the weights stay as they were"
    log(f"validation loss {before.loss:.3g} -> {found.loss:.3g}{kept}")
    model, found = (solved, found) if better else (given, before)
    say_errors(found, len(held_out), log)
    return with_errors(model, found), found
