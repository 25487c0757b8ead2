"""A Hugging Face trainer inside a stage: ponder's steps, checkpoints, logs and random numbers around the trainer's own loop."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import PrinterCallback, ProgressCallback, TrainerCallback

from ponder.errors import InputError, StageError
from ponder.hf import TrainingState, clip_gradients, optimizer_of
from ponder.interfaces import Policy
from ponder.randomness import derive_seed
from ponder_trl.checks import check_output
from ponder_trl.quiet import quiet_libraries
from ponder_trl.step_trainer import StepTrainer

if TYPE_CHECKING:
    from ponder.context import Checkpointable, StageContext

FINAL_STEPS = 10
"""Steps whose mean the stage's result reports."""


class Paced(Protocol):
    """The options that all stages on TRL's trainers have."""

    @property
    def betas(self) -> tuple[float, float]:
        """AdamW's decay rates."""
        ...

    @property
    def weight_decay(self) -> float:
        """AdamW's weight decay."""
        ...

    @property
    def max_grad_norm(self) -> float:
        """The global norm that gradients are scaled down to."""
        ...

    @property
    def max_skipped(self) -> int:
        """Steps in a row that are not finite after which the stage gives up."""
        ...

    @property
    def checkpoint_every(self) -> int | None:
        """Steps between checkpoints."""
        ...


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How many steps there are, and how large each is."""

    steps: int
    """Optimizer steps of the whole stage."""
    learning_rate: Callable[[int], float]
    """The learning rate of a step, 0 the first."""
    betas: tuple[float, float]
    weight_decay: float
    max_grad_norm: float
    max_skipped: int
    """Steps in a row that are not finite after which the stage gives up."""
    checkpoint_every: int | None

    @classmethod
    def of(cls, config: Paced, steps: int, learning_rate: Callable[[int], float]) -> Pace:
        """That of a stage's options, which name all but the number of steps and the learning rate's course."""
        return cls(
            steps=steps,
            learning_rate=learning_rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
            max_grad_norm=config.max_grad_norm,
            max_skipped=config.max_skipped,
            checkpoint_every=config.checkpoint_every,
        )


@dataclass(frozen=True)
class Pieces:
    """What every trainer is made from."""

    arguments: dict[str, Any]
    """For its configuration: the recipe's options and what the loop needs."""
    optimizers: tuple[torch.optim.Optimizer, LambdaLR]
    callbacks: list[TrainerCallback]
    start: int
    """The step that the trainer begins with: it is to be given the batches from there on."""


@dataclass
class Progress:
    """What the loop remembers besides weights and optimizer."""

    skipped: int = 0
    """Steps that were not finite, and changed nothing."""
    skipped_in_a_row: int = 0
    recent: list[dict[str, float]] = field(default_factory=list)
    """The metrics of the last steps."""

    def means(self) -> dict[str, float]:
        """The mean of each metric over the last steps."""
        names = dict.fromkeys(name for metrics in self.recent for name in metrics)
        columns = {name: [metrics[name] for metrics in self.recent if name in metrics] for name in names}
        return {name: math.fsum(values) / len(values) for name, values in columns.items()}


def train(
    context: StageContext,
    policy: Policy,
    pace: Pace,
    make_trainer: Callable[[Pieces], StepTrainer],
    *,
    options: Mapping[str, Any],
    keep: Callable[[Mapping[str, float]], Mapping[str, float]],
    extra: Checkpointable | None = None,
) -> Progress:
    """Train `policy.model` to the end of the stage, with the trainer that `make_trainer` builds for the steps still to do.

    `options` are the recipe's for the trainer's configuration. `keep` picks, from what the trainer logs after a step, the numbers
    that are a function of the recipe: they join loss, learning rate and gradient norm in `metrics.jsonl`. Before every step
    torch's random numbers are seeded from the stage's seed and the step, so that a resumed run draws the same ones. `extra` is
    what else later steps depend on: it is kept in the same checkpoints, in files of its own.

    Raises:
        InputError: the trainer refuses its options, or would not train what the policy is to be trained through.
        StageError: the loss or the gradient was not finite for `max_skipped` steps in a row.
    """
    check_output(policy.model)
    optimizer = optimizer_of(policy, pace.learning_rate(0), pace.betas, pace.weight_decay)
    state = _LoopState(TrainingState(policy, optimizer), Progress(), extra)
    steps = context.steps(pace.steps, state, checkpoint_every=pace.checkpoint_every)
    start = next(steps, None)
    if start is None:
        return state.progress
    callback = _StepCallback(context, policy, pace, keep, steps, start, state.progress)
    with quiet_libraries(), _as_it_was(policy.model), _scratch(context.directory / "trainer") as scratch:
        arguments = {**_DEFAULTS, **options, **_OURS, "output_dir": str(scratch), "max_steps": pace.steps - start}
        arguments["seed"] = derive_seed(context.seed, "trainer") % 2**32
        pieces = Pieces(arguments, (optimizer, _scheduler(optimizer, pace, start)), [callback], start)
        callback.trainer = _made(make_trainer, pieces)
        callback.trainer.train()
        callback.finish()
    policy.model.eval()
    return state.progress


_DEFAULTS: dict[str, Any] = {"bf16": False, "gradient_checkpointing": False}
"""Where TRL's defaults would change what is computed (mixed precision), or make a small model slower."""

_OURS: dict[str, Any] = {
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "max_grad_norm": 0.0,
    "save_strategy": "no",
    "eval_strategy": "no",
    "logging_strategy": "steps",
    "logging_steps": 1,
    "log_level": "error",
    "report_to": [],
    "disable_tqdm": True,
}
"""A step of the trainer is one of ours: `StepBatch` cuts it, and the callback clips its gradients."""


@dataclass(frozen=True)
class _LoopState:
    """Everything a later step depends on."""

    training: TrainingState
    progress: Progress
    extra: Checkpointable | None

    def save(self, directory: Path) -> None:
        self.training.save(directory)
        if self.extra is not None:
            self.extra.save(directory)
        (directory / "progress.json").write_text(json.dumps(asdict(self.progress)), encoding="utf-8")

    def load(self, directory: Path) -> None:
        self.training.load(directory)
        if self.extra is not None:
            self.extra.load(directory)
        kept = json.loads((directory / "progress.json").read_text(encoding="utf-8"))
        for name, value in kept.items():
            setattr(self.progress, name, value)


class _StepCallback(TrainerCallback):
    """Ties each step of the trainer to one of the context's."""

    def __init__(
        self,
        context: StageContext,
        policy: Policy,
        pace: Pace,
        keep: Callable[[Mapping[str, float]], Mapping[str, float]],
        steps: Iterator[int],
        start: int,
        progress: Progress,
    ) -> None:
        self.trainer: StepTrainer
        self._context = context
        self._policy = policy
        self._pace = pace
        self._keep = keep
        self._steps = steps
        self._step: int | None = None
        self._next = start
        self._progress = progress
        self._norm = 0.0
        self._is_finite = True
        self._started = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Commit the step before if it is time, stop if a signal asks for it, and seed this one."""
        self._step = self._next if self._step is None else next(self._steps)
        torch.manual_seed(derive_seed(self._context.seed, "step", self._step))
        self._started = time.perf_counter()

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Clip the gradients; without them the optimizer changes nothing, so those that are not finite are dropped."""
        model = self._policy.model
        self._norm = clip_gradients(model.parameters(), self._pace.max_grad_norm)
        self._is_finite = math.isfinite(self._norm) and math.isfinite(self.trainer.step_loss)
        if not self._is_finite:
            model.zero_grad(set_to_none=True)
        self._count_skips()

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        """The weights have changed."""
        self._policy.version += self._is_finite

    def on_log(self, *_: Any, logs: Mapping[str, float], **__: Any) -> None:
        """Report the step."""
        if "loss" not in logs:
            return
        seconds = time.perf_counter() - self._started
        step = self._step or 0
        metrics = {
            "loss": self.trainer.step_loss,
            "learning_rate": self._pace.learning_rate(step),
            "grad_norm": self._norm,
            "skipped": float(not self._is_finite),
            **self._keep(logs),
        }
        self._context.log(metrics, step)
        self._progress.recent = [*self._progress.recent, metrics][-FINAL_STEPS:]
        tokens = {"tokens_per_second": self.trainer.step_tokens / seconds} if self.trainer.step_tokens else {}
        self._context.timing({"seconds/train": seconds, **tokens}, step)

    def finish(self) -> None:
        """Commit the last step."""
        next(self._steps, None)

    def _count_skips(self) -> None:
        progress = self._progress
        progress.skipped += not self._is_finite
        progress.skipped_in_a_row = 0 if self._is_finite else progress.skipped_in_a_row + 1
        if progress.skipped_in_a_row >= self._pace.max_skipped:
            raise StageError(
                f"the loss or its gradient was not finite in {progress.skipped_in_a_row} steps in a row, up to step {self._step}: "
                "lower learning_rate, lengthen the warm-up, or look at the data; the weights are those before these steps"
            )


def _scheduler(optimizer: torch.optim.Optimizer, pace: Pace, start: int) -> LambdaLR:
    """Gives each step its learning rate, whichever step the trainer takes for its first."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] = 1.0
    return LambdaLR(optimizer, lambda done: pace.learning_rate(start + done))


def _made(make_trainer: Callable[[Pieces], StepTrainer], pieces: Pieces) -> StepTrainer:
    try:
        trainer = make_trainer(pieces)
    except (ValueError, ImportError) as error:
        raise InputError(f"the trainer refuses its options (section `trl`): {error}") from error
    for printer in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printer)
    return trainer


@contextmanager
def _as_it_was(model: Any) -> Iterator[None]:
    """Undo what trainers leave behind in a model: `use_cache` off, which slows down all later sampling, and a patched forward."""
    use_cache = getattr(model.config, "use_cache", None)
    patched = {module: vars(module).get("forward") for module in model.modules()}
    try:
        yield
    finally:
        if use_cache is not None:
            model.config.use_cache = use_cache
        for module, forward in patched.items():
            if forward is not None:
                module.forward = forward
            elif "forward" in vars(module):
                del module.forward


@contextmanager
def _scratch(directory: Path) -> Iterator[Path]:
    """The directory that a trainer makes and, told to keep nothing, leaves empty."""
    try:
        yield directory
    finally:
        with suppress(OSError):
            directory.rmdir()
