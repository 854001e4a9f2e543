"""The end of a run: the best model and the last one written, their errors told, and a report."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ase_deeppot.fitting import report
from ase_deeppot.fitting.checkpoint import model_with
from ase_deeppot.fitting.learning_curve import Row
from ase_deeppot.fitting.local_frame_statistics import with_jump
from ase_deeppot.fitting.loss import prefactors
from ase_deeppot.fitting.metrics import Accuracy, format_accuracy
from ase_deeppot.fitting.monitor import Picture
from ase_deeppot.fitting.output_layers import fit_output_layers
from ase_deeppot.fitting.polynomials import fit_polynomials
from ase_deeppot.fitting.preparation import Prepared
from ase_deeppot.fitting.trainer import CHECKPOINT, Trainer, TrainingError
from ase_deeppot.fitting.validation import Validation, validate
from ase_deeppot.potential.archive import Model, save_model
from ase_deeppot.potential.card import ModelCard

MODEL = "model.pth"
LAST_MODEL = "last.pth"
NETS = "nets.pth"


class FitResult(NamedTuple):
    """What a training run left behind."""

    model: Path  # the model file; not there if the run was interrupted
    finished: bool
    validation: tuple[Accuracy, ...]  # energy, forces, stress of that model; empty without validation frames


def finish(trainer: Trainer, prepared: Prepared, finished: bool, log: Callable[[str], None]) -> FitResult:
    """Write what a run leaves, or say how to go on with one that was interrupted.

    ``model.pth`` is the model with the smallest validation loss, ``last.pth`` that of the last step if it is another,
    ``nets.pth`` the best one with nets, if ``model.pth`` has polynomials in their place.

    Raises
    ------
    TrainingError
        If a model cannot be written.
    """
    path = trainer.folder / MODEL
    if not finished:
        kept = f"{trainer.folder / CHECKPOINT} holds step {trainer.saved}: go on with restart, or freeze it"
        log(f"interrupted at step {trainer.done}; {'nothing is saved' if trainer.saved is None else kept}")
        return FitResult(path, False, ())
    if trainer.done < trainer.config.training.steps:
        log(f"no better model in {trainer.config.training.patience} validations: stopped early, at step {trainer.done}")
    best, found = _best(trainer, log)
    best = with_jump(best, prepared.train)
    step = best.card.training["steps"]
    if step < trainer.done:
        _save(trainer, trainer.folder / LAST_MODEL, with_jump(_last(trainer), prepared.train))
        log(f"wrote {trainer.folder / LAST_MODEL}, the model of the last step")
    if found:
        say_errors(found, len(trainer.validation or ()), log)
    if trainer.config.training.monomials:
        best, found = _with_polynomials(trainer, best, found, log)
    _save(trainer, path, best)
    log(f"wrote {path}" + (f", the best model, of step {step}" if found else ""))
    if trainer.config.monitor.plot:
        Picture(trainer.folder, log).draw(trainer.rows)
    if trainer.config.monitor.report:
        report.write(trainer.folder, trainer.rows, prepared, best, log)
    return FitResult(path, True, found.accuracy if found else ())


def _best(trainer: Trainer, log: Callable[[str], None]) -> tuple[Model, Validation | None]:
    """The model to keep, with its errors in its card; without validation frames that of the last step."""
    if trainer.best is None or trainer.validation is None:
        return next(_fitted(trainer, [_last(trainer)]), _last(trainer)), None
    kept = model_with(trainer.best.weights, _card(trainer, trainer.best.step))
    others = [_last(trainer)] if trainer.best.step < trainer.done else []
    models = [kept, *_fitted(trainer, [kept, *others])]
    found = [validate(model, trainer.validation, trainer.config.loss) for model in models]
    chosen = min(range(len(models)), key=lambda k: found[k].loss)
    if chosen:
        log(f"output layers fitted to the training frames: validation loss {found[0].loss:.3g} -> "
            f"{found[chosen].loss:.3g}")
    return with_errors(models[chosen], found[chosen]), found[chosen]


def with_errors(model: Model, found: Validation) -> Model:
    """The model with its errors in its card."""
    errors = {"validation_rmse": {row.name: row.rmse for row in found.accuracy if row.labels}}
    return model._replace(card=replace(model.card, training=model.card.training | errors))


def _with_polynomials(trainer: Trainer, nets: Model, found: Validation | None,
                  log: Callable[[str], None]) -> tuple[Model, Validation | None]:
    """The model with polynomials, where that is better or nothing tells; that with nets is kept beside it."""
    _save(trainer, trainer.folder / NETS, nets)  # before what may take long, or more memory than there is
    solved, now = fit_polynomials(nets, trainer.train, trainer.validation, trainer.config, log)
    if found is not None and now is not None:
        if not now.loss < found.loss:
            log(f"polynomials are no better than nets: validation loss {now.loss:.3g}, with nets {found.loss:.3g}")
            (trainer.folder / NETS).unlink()
            return nets, found
        solved = with_errors(solved, now)
        say_errors(now, len(trainer.validation or ()), log)
    log(f"wrote {trainer.folder / NETS}, the model with nets in place of polynomials")
    return solved, now


def _fitted(trainer: Trainer, models: list[Model]) -> Iterator[Model]:
    """Those whose loss on the training frames is less with other output layers, with these."""
    for model in models if trainer.config.training.fit_output_layers else ():
        module = copy.deepcopy(model.module).to(trainer.device)
        if fit_output_layers(module, trainer.train, prefactors(trainer.config.loss, 0.0)) > 0.0:
            record = model.card.training | {"output_layers": "fitted"}
            yield Model(module.cpu().eval(), replace(model.card, training=record))


def _last(trainer: Trainer) -> Model:
    card = _card(trainer, trainer.done)
    errors = {} if not trainer.rows else _errors(trainer.rows[-1])
    return Model(trainer.model, replace(card, training=card.training | {"validation_rmse": errors}))


def _errors(row: Row) -> dict[str, float]:
    columns = {"energy": row.rmse_e_val, "forces": row.rmse_f_val, "stress": row.rmse_s_val}
    return {name: value for name, value in columns.items() if value == value}


def _card(trainer: Trainer, step: int) -> ModelCard:
    record = {"steps": step, "steps_done": trainer.done, "seconds": round(trainer.seconds, 1)}
    return replace(trainer.card, training=trainer.card.training | record)


def say_errors(found: Validation, frames: int, log: Callable[[str], None]) -> None:
    """Tell the errors on so many validation frames, and those of their sources if there are several."""
    log("validation, " + format_accuracy(found.accuracy, frames))
    if len(found.by_source) > 1:
        for name, errors in found.by_source.items():
            shown = ", ".join(f"{row.name} {1e3 * row.rmse:.4g} m{row.unit}" for row in errors if row.labels)
            log(f"  {name}: {shown}")


def _save(trainer: Trainer, path: Path, model: Model) -> None:
    try:
        save_model(path, model)
    except OSError as error:
        raise TrainingError(f"could not write {path} ({error.strerror}); {trainer.folder / CHECKPOINT} holds step "
                            f"{trainer.saved}: make room and restart") from error
