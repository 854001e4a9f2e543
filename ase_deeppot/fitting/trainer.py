"""The training loop: batch, loss, step, learning curve, checkpoint."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ase_deeppot.compiler import compilable, told_of_compiling
from ase_deeppot.errors import DataError, DeepPotError
from ase_deeppot.fitting import learning_curve
from ase_deeppot.fitting.checkpoint import Best, Checkpoint, save_checkpoint
from ase_deeppot.fitting.config import FittingConfig
from ase_deeppot.fitting.datasets import Batch, Dataset, Sampler, batch_size_for
from ase_deeppot.fitting.device import check_device, keep_freed_memory
from ase_deeppot.fitting.interrupt import interrupt_flag
from ase_deeppot.fitting.learning_curve import Row, SourceRow
from ase_deeppot.fitting.loss import Prefactors, decay, prefactors, warmth
from ase_deeppot.fitting.output_layers import ON_THE_WAY, fit_output_layers, output_layers
from ase_deeppot.fitting.prefetch import Prefetch
from ase_deeppot.fitting.processes import Processes
from ase_deeppot.fitting.standardisation import recentre
from ase_deeppot.fitting.steps import steps_of
from ase_deeppot.fitting.validation import Validation, validate
from ase_deeppot.potential.archive import Model
from ase_deeppot.potential.card import ModelCard
from ase_deeppot.potential.deep_potential import DeepPotential
from ase_deeppot.potential.threads import given_back, taken_from_torch

CHECKPOINT = "checkpoint.pt"
RECENTRE_EVERY = 100  # steps; see standardisation.recentre
RECENTRE_BATCHES = 16  # of frames that are looked at then: those of one batch may all be alike
COMPILING = "compiling the loops of training, which takes up to half a minute, once for an installation"
LEAST_SQUARES_AT = (0.25, 0.5, 0.75, 0.9, 0.95)  # of all steps; see output_layers. And in the end


class TrainingError(DeepPotError, RuntimeError):
    """Training cannot go on."""


class StepInput(NamedTuple):
    """What a step needs beside the weights."""

    batch: Batch | None  # our share; None where it is empty
    centring: tuple[Tensor, Tensor] | None  # types and features of many atoms, where the mean is taken anew


class Trainer:
    """A model in training. ``run`` is all there is to do with it; a checkpoint brings one back.

    Parameters
    ----------
    config : FittingConfig
    model : DeepPotential
        With its statistics set.
    card : ModelCard
        What the finished model will say of itself.
    train, validation : Dataset
        ``validation`` may be None.
    report : callable
        Gets each line of text for the user.
    observers : sequence of callable
        Get the learning curve and its lines by source whenever it has grown; none of them may raise.
    processes : Processes
        All do the same steps, each with its share of the frames; only the first reports and writes.
    """

    def __init__(self, config: FittingConfig, model: DeepPotential, card: ModelCard, train: Dataset,
                 validation: Dataset | None, report: Callable[[str], None],
                 observers: Sequence[Callable[[list[Row], list[SourceRow]], None]] = (),
                 processes: Processes = Processes()) -> None:
        self.processes, self.device = processes, processes.device(config.training.device)
        check_device(self.device)
        keep_freed_memory()
        self.config, self.model, self.card = config, model.to(self.device), card
        self.train, self.validation, self.report, self.observers = train, validation, report, observers
        self.folder = Path(config.output)
        size = batch_size_for(train.frames, config.training.batch_size, config.training.batch_atoms)
        self.sampler = Sampler(len(train), size, config.training.seed)
        self.parameters = list(model.parameters())
        self.steps = steps_of(config, self.model, processes)
        if self.steps.about():
            report(self.steps.about())
        self.done = 0
        self.running = torch.zeros(6, dtype=torch.float64)
        self.rows: list[Row] = []
        self.by_source: list[SourceRow] = []
        self.best: Best | None = None  # by the validation's loss
        self.seconds = 0.0
        self.saved: int | None = None  # step of the checkpoint on disk
        self.least_squares_at = {int(share * config.training.steps) for share in LEAST_SQUARES_AT} - {0}
        self.inputs = Prefetch(self.prepare, config.training.steps)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to where a checkpoint was made."""
        self.model.load_state_dict(checkpoint.weights)
        self.steps.restore(checkpoint.optimizers)
        self.done, self.saved, self.seconds = checkpoint.step, checkpoint.step, checkpoint.seconds
        self.running, self.best = checkpoint.running, checkpoint.best
        self.rows, self.by_source = list(checkpoint.rows), list(checkpoint.by_source)

    def run(self, progress: Callable[[int], object]) -> bool:
        """Train to the end; ``progress`` is called with the steps done after each.

        Returns
        -------
        bool
            Whether the last step was reached, or patience ran out; False after an interrupt (SIGINT, SIGTERM),
            which saves a checkpoint first.
        """
        options = self.config.training
        began = time.perf_counter() - self.seconds
        with interrupt_flag() as interrupted, self.inputs, ExitStack() as loops:
            if self.device == "cpu" and compilable():
                loops.enter_context(told_of_compiling(lambda: self.report(COMPILING)))
                loops.enter_context(taken_from_torch())
            try:
                while not self.processes.any(self.over() or bool(interrupted)):
                    self.step()
                    self.seconds = time.perf_counter() - began
                    if self.done % options.validate_every == 0 or self.done == options.steps:
                        self.add_row()
                    if self.processes.first and self.done % options.checkpoint_every == 0:
                        self.save()
                    progress(self.done)
            except DataError:  # frames that cannot be read: the weights are those of the last step
                self.save_last()
                raise
            self.save_last()
        return self.processes.any(self.over())

    def save_last(self) -> None:
        """Write the checkpoint of the step that is done, if it is not there."""
        if self.processes.first and self.saved != self.done:
            self.save()

    def over(self) -> bool:
        """Whether all steps are done, or the last ``patience`` validations found no better model."""
        options = self.config.training
        since_best = sum(row.step > self.best.step for row in self.rows) if self.best else 0
        return self.done >= options.steps or 0 < options.patience <= since_best

    def step(self) -> None:
        """One step on the loss of one batch."""
        decayed = self.decay()
        warm = warmth(self.config.learning_rate, self.done, self.config.training.steps)
        given = self.inputs(self.done)
        weights = prefactors(self.config.loss, decayed)
        if given.centring is not None:
            recentre(self.model, *(tensor.to(self.device) for tensor in given.centring))
        if self.config.training.fit_output_layers and self.done in self.least_squares_at:
            self.fit_output_layers(weights)
        self.running = self.running + self.steps.step(self.done, given.batch, weights, decayed * warm,
                                                      self.check_finite)
        self.done += 1

    def fit_output_layers(self, weights: Prefactors) -> None:
        """Set them to where the loss is least; the first process does it for all."""
        if self.processes.first:
            with given_back():
                fit_output_layers(self.model, self.train, weights, ON_THE_WAY)
        self.processes.same([weight.data for output in output_layers(self.model) for weight in output.parameters()])

    def prepare(self, step: int) -> StepInput:
        """All of a step that does not depend on the weights."""
        geometry, whole = self.model.descriptor.geometry(), self.sampler.indices(step)
        share = self.processes.share(whole)
        batch = self.train.batch(share, geometry, self.device, of=whole) if len(share) else None
        if step == 0 or step % RECENTRE_EVERY or not self.steps.recentres:
            return StepInput(batch, None)
        batches = (self.sampler.indices(later) for later in range(step, step + RECENTRE_BATCHES))
        indices = [int(k) for k in np.unique(np.concatenate(list(batches)))]
        types = torch.from_numpy(np.concatenate([self.train.types_of_frame(k) for k in indices]))
        features = torch.cat([self.train.environment(k, geometry).features for k in indices])
        return StepInput(batch, (types, features))

    def check_finite(self, value: float) -> None:
        """Stop before a loss or a gradient that is not finite gets into the weights."""
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norms = [torch.linalg.vector_norm(gradient) for gradient in gradients]
        if math.isfinite(value) and (not norms or bool(torch.stack(norms).isfinite().all())):
            return
        what = "gradient of the loss is not finite" if math.isfinite(value) else f"loss became {value}"
        kept = "" if self.saved is None else f"; {self.folder / CHECKPOINT} holds step {self.saved}"
        raise TrainingError(f"the {what} at step {self.done + 1}: {self.steps.advice}look for frames with huge forces"
                            f"{kept}")

    def decay(self) -> float:
        """Learning rates of the next step, relative to those of the first."""
        return decay(self.config.learning_rate, self.done, self.config.training.steps)

    def add_row(self) -> None:
        """Validate, keep the best model, and add a line to the learning curve."""
        found = self.validate()
        new = learning_curve.row(self.done, self.running, found, self.decay() * self.config.learning_rate.start,
                                 self.seconds)
        self.report(learning_curve.line(new))
        self.rows.append(new)
        self.by_source += learning_curve.source_rows(self.done, found)
        self.keep_best(new)
        self.running = torch.zeros_like(self.running)
        if self.processes.first:
            self.show_rows()

    def show_rows(self) -> None:
        """Write the learning curve; a failure is reported and training goes on."""
        try:
            learning_curve.write(self.folder, self.rows, self.by_source)
        except OSError as error:
            self.report(f"warning: could not write {self.folder / learning_curve.FILE} at step {self.done} "
                        f"({error.strerror}); training goes on")
        for observer in self.observers:
            observer(self.rows, self.by_source)

    def keep_best(self, new: Row) -> None:
        """Take a copy of the weights if no validation before had a smaller loss."""
        if math.isfinite(new.loss_val) and (self.best is None or new.loss_val < self.best.loss):
            weights = {name: value.detach().cpu().clone() for name, value in self.model.state_dict().items()}
            self.best = Best(self.done, new.loss_val, weights)

    def validate(self) -> Validation | None:
        """Errors on the validation frames; None without such frames."""
        if self.validation is None:
            return None
        return validate(self.snapshot(), self.validation, self.config.loss, self.processes)

    def snapshot(self) -> Model:
        """The model as it is now, ready to evaluate."""
        return Model(self.model, self.card)

    def save(self) -> None:
        """Write the checkpoint; a failure is reported and training goes on, the older checkpoint is kept."""
        checkpoint = Checkpoint(self.done, self.config, self.card, self.model.state_dict(), self.steps.state(),
                                self.running, self.rows, self.by_source, self.best, self.seconds)
        try:
            save_checkpoint(self.folder / CHECKPOINT, checkpoint)
            self.saved = self.done
        except OSError as error:
            kept = "there is none before it" if self.saved is None else f"that of step {self.saved} is intact"
            self.report(f"warning: could not write {self.folder / CHECKPOINT} at step {self.done} ({error.strerror}); "
                        + kept)
