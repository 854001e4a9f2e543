"""The training loop: batch, loss, Adam step, learning curve, checkpoint."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch

from ase_deeppot.errors import ConfigError, DeepPotError
from ase_deeppot.fitting import learning_curve
from ase_deeppot.fitting.checkpoint import Checkpoint, save_checkpoint
from ase_deeppot.fitting.config import FittingConfig
from ase_deeppot.fitting.datasets import Dataset, Sampler, batch_size_for
from ase_deeppot.fitting.loss import learning_rate, loss, prefactors
from ase_deeppot.fitting.metrics import Accuracy, accuracy, parities, predict
from ase_deeppot.potential.archive import Model
from ase_deeppot.potential.card import ModelCard
from ase_deeppot.potential.deep_potential import DeepPotential

CHECKPOINT = "checkpoint.pt"
LARGEST_ADAPTED_TO = 31 << 20  # bytes; glibc's limit is 32 MiB


class TrainingError(DeepPotError, RuntimeError):
    """Training cannot go on."""


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
    """

    def __init__(self, config: FittingConfig, model: DeepPotential, card: ModelCard, train: Dataset,
                 validation: Dataset | None, report: Callable[[str], None]) -> None:
        check_device(config.training.device)
        keep_freed_memory()
        self.config, self.model, self.card = config, model.to(config.training.device), card
        self.train, self.validation, self.report = train, validation, report
        self.folder = Path(config.output)
        size = batch_size_for(train.frames, config.training.batch_size, config.training.batch_atoms)
        self.sampler = Sampler(len(train), size, config.training.seed)
        self.parameters = list(model.parameters())
        self.optimizer = torch.optim.Adam(self.parameters, lr=config.learning_rate.start, fused=True)
        self.done = 0
        self.running = torch.zeros(6, dtype=torch.float64)
        self.rows: list[list[float]] = []
        self.seconds = 0.0
        self.saved: int | None = None  # step of the checkpoint on disk

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to where a checkpoint was made."""
        self.model.load_state_dict(checkpoint.weights)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        self.done, self.saved, self.seconds = checkpoint.step, checkpoint.step, checkpoint.seconds
        self.running, self.rows = checkpoint.running, checkpoint.rows

    def run(self, progress: Callable[[int], object]) -> bool:
        """Train to the last step; ``progress`` is called with the steps done after each.

        Returns
        -------
        bool
            Whether the last step was reached; False after an interrupt (SIGINT, SIGTERM), which saves a checkpoint
            first.
        """
        options = self.config.training
        began = time.perf_counter() - self.seconds
        with interrupt_flag() as interrupted:
            while self.done < options.steps and not interrupted:
                self.step()
                self.seconds = time.perf_counter() - began
                if self.done % options.validate_every == 0 or self.done == options.steps:
                    self.add_row()
                if self.done % options.checkpoint_every == 0:
                    self.save()
                progress(self.done)
            if self.saved != self.done:
                self.save()
        return self.done == options.steps

    def step(self) -> None:
        """One step of Adam on the loss of one batch."""
        rate = self.rate()
        batch = self.train.batch(self.sampler.indices(self.done), self.model.descriptor.geometry(),
                                 self.config.training.device)
        weights = prefactors(self.config.loss, rate / self.config.learning_rate.start)
        self.optimizer.zero_grad(set_to_none=True)
        value, errors = loss(self.model, batch, weights)
        torch.autograd.backward(value)
        self.check_finite(float(value.detach()))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.done += 1
        self.running = learning_curve.add(self.running, errors)

    def check_finite(self, value: float) -> None:
        """Stop before a loss or a gradient that is not finite gets into the weights."""
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        if math.isfinite(value) and bool(torch.nn.utils.get_total_norm(gradients).isfinite()):
            return
        what = "gradient of the loss is not finite" if math.isfinite(value) else f"loss became {value}"
        kept = "" if self.saved is None else f"; {self.folder / CHECKPOINT} holds step {self.saved}"
        raise TrainingError(f"the {what} at step {self.done + 1}: lower learning_rate.start (now "
                            f"{self.config.learning_rate.start:g}) or look for frames with huge forces{kept}")

    def rate(self) -> float:
        """Learning rate of the next step."""
        return learning_rate(self.config.learning_rate, self.done, self.config.training.steps)

    def add_row(self) -> None:
        """Validate, and add a line to the learning curve."""
        new = learning_curve.row(self.done, self.running, self.validate(), self.rate(), self.seconds)
        self.report(learning_curve.line(new))
        self.rows.append(list(new))
        self.running = torch.zeros_like(self.running)
        try:
            learning_curve.write(self.folder, self.rows)
        except OSError as error:
            self.report(f"warning: could not write {self.folder / learning_curve.FILE} at step {self.done} "
                        f"({error.strerror}); training goes on")

    def validate(self) -> tuple[Accuracy, ...]:
        """Errors of energy, forces and stress on the validation frames; empty without such frames."""
        if self.validation is None:
            return ()
        return tuple(map(accuracy, parities(self.validation.frames, predict(self.snapshot(), self.validation))))

    def snapshot(self) -> Model:
        """The model as it is now, ready to evaluate."""
        return Model(self.model, self.card)

    def save(self) -> None:
        """Write the checkpoint; a failure is reported and training goes on, the older checkpoint is kept."""
        checkpoint = Checkpoint(self.done, self.config, self.card, self.model.state_dict(),
                                self.optimizer.state_dict(), self.running, self.rows, self.seconds)
        try:
            save_checkpoint(self.folder / CHECKPOINT, checkpoint)
            self.saved = self.done
        except OSError as error:
            kept = "there is none before it" if self.saved is None else f"that of step {self.saved} is intact"
            self.report(f"warning: could not write {self.folder / CHECKPOINT} at step {self.done} ({error.strerror}); "
                        + kept)


def keep_freed_memory() -> None:
    """Make glibc keep the memory that a step frees for the next one: it adapts to the largest piece freed so far.

    Without this, some processes get megabytes from the system at each step anew, and take a sixth longer.
    """
    torch.empty(LARGEST_ADAPTED_TO, dtype=torch.uint8)


def check_device(name: str) -> None:
    """Refuse a device that PyTorch does not know or cannot use here.

    Raises
    ------
    ConfigError
        With what PyTorch says of it.
    """
    try:
        torch.ones(1, dtype=torch.float64, device=name).item()
    except (RuntimeError, AssertionError, TypeError) as error:  # PyTorch raises each of them
        reason = str(error).split("\n")[0][:120]
        raise ConfigError(f"expected a device that works here for training.device, got {name!r}: {reason}") from error


class InterruptFlag:
    """Becomes true when the user interrupts."""

    def __init__(self) -> None:
        self.raised = False

    def __bool__(self) -> bool:
        return self.raised

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """Note a first interrupt; a second one ends the program the usual way."""
        if self.raised:
            raise KeyboardInterrupt
        self.raised = True


@contextmanager
def interrupt_flag() -> Iterator[InterruptFlag]:
    """Within this context a first SIGINT or SIGTERM sets a flag instead of ending the program (main thread only)."""
    flag = InterruptFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before = {number: signal.signal(number, flag) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
