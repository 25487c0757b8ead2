"""What the stages share: packed batches of a task's documents, and optimizer steps on them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ponder import Example, Policy, Task
from ponder.durable import read_json, write_json
from ponder.errors import InputError, StageError
from ponder.hf import TrainingState, clip_gradients, optimizer_of, render_prompt, set_learning_rate
from ponder.hf_compile import compile_layers
from ponder.hf_precision import working_precision
from ponder.hf_pretraining import TokenBatch, objective_of
from ponder_pretraining import TrainingConfig
from ponder_pretraining.packing import Documents, Tokenize


class Training:
    """One training run: what changes from step to step."""

    def __init__(self, config: TrainingConfig, policy: Policy, learning_rate: float) -> None:
        self._config = config
        self._policy = policy
        # A checkpoint may be in BF16, in which small updates would be lost.
        policy.model.float()
        if config.compile:
            compile_layers(policy.model)
        betas = (config.beta1, config.beta2)
        # Before the optimizer: the objective may open parameters that the policy otherwise leaves alone.
        self.objective = objective_of(policy)
        self._optimizer = optimizer_of(policy, learning_rate, betas, config.weight_decay)
        self._skipped = 0
        self.state = TrainedState(TrainingState(policy, self._optimizer))

    @property
    def recent_loss(self) -> float:
        """Of the last step, in nats."""
        return self.state.recent_loss

    def step(self, batch: TokenBatch, step: int, learning_rate: float, progress: float) -> dict[str, float]:
        """One optimizer step; a step that is not finite leaves every weight as it was."""
        config, model = self._config, self._policy.model
        set_learning_rate(self._optimizer, learning_rate)
        with working_precision(model, config.precision):
            loss, metrics = self.objective.loss(batch, progress)
            loss.backward()
        norm = clip_gradients(model.parameters(), config.max_grad_norm)
        finite = math.isfinite(norm) and math.isfinite(loss.item())
        self._count_skips(finite, step)
        if finite:
            self._optimizer.step()
            self._policy.version += 1
        self._optimizer.zero_grad(set_to_none=True)
        metrics |= self.objective.finish_step(progress, updated=finite)
        self.state.recent_loss = metrics["loss"]
        return {"learning_rate": learning_rate, "grad_norm": norm, "skipped": float(not finite), **metrics}

    def expert_loads(self) -> list[list[int]]:
        """Tokens given to each expert of each layer in the last step; nothing of a policy without experts."""
        loads = getattr(self.objective, "expert_loads", None)
        return loads() if loads else []

    def _count_skips(self, finite: bool, step: int) -> None:
        self._skipped = 0 if finite else self._skipped + 1
        if self._skipped >= self._config.max_skipped:
            raise StageError(
                f"the loss or its gradient was not finite in {self._skipped} steps in a row, up to step {step}: "
                "lower learning_rate, lengthen warmup, or look at the documents; the weights are those before these steps"
            )


@dataclass
class TrainedState:
    """Everything a later step, or what the stage reports, depends on."""

    training: TrainingState
    recent_loss: float = math.nan

    def save(self, directory: Path) -> None:
        """See `Checkpointable`."""
        self.training.save(directory)
        write_json(directory / "loss.json", self.recent_loss)

    def load(self, directory: Path) -> None:
        """See `Checkpointable`."""
        self.training.load(directory)
        loss = read_json(directory / "loss.json")
        self.recent_loss = math.nan if loss is None else loss


Rows = Callable[[Documents, Tokenize, int, int], Iterator[list[list[int]]]]
"""`packed_rows` or `running_rows`."""


def batches(
    tokenizer: Any, documents: Documents, make_rows: Rows, length: int, rows: int, seed: int
) -> Iterator[TokenBatch]:
    """An endless stream of batches of so many rows; it ends at once without documents.

    Raises:
        InputError: the tokenizer cannot say where a document ends, or fill a row.
    """
    check_tokenizer(tokenizer)
    stream = make_rows(documents, partial(tokenize, tokenizer), length, seed)
    while batch := list(itertools.islice(stream, rows)):
        yield TokenBatch.pack(batch, length, int(tokenizer.pad_token_id))


def next_batch(stream: Iterator[TokenBatch], skipped: int, task: str) -> TokenBatch:
    """The batch after those that an interrupted run had read; raises InputError when the task has no documents."""
    batch = next(itertools.islice(stream, skipped, None), None)
    if batch is None:
        raise InputError(f"the task {task!r} has no documents to train on")
    return batch


def check_tokenizer(tokenizer: Any) -> None:
    """Raise InputError for a tokenizer that cannot say where a document ends, or fill a row."""
    for name in ("eos_token", "pad_token"):
        if getattr(tokenizer, name) is None:
            raise InputError(
                f"the policy's tokenizer has no {name}, and packed documents need one: set it, save the tokenizer "
                "and load the policy from there"
            )


def documents_of(task: Task, tokenizer: Any) -> Iterator[str]:
    """The pages of a task."""
    return (_document(tokenizer, example) for example in task.examples())


def tokenize(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Token ids of pages, each with an end-of-sequence token behind it."""
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return [[*document, tokenizer.eos_token_id] for document in ids]


def _document(tokenizer: Any, example: Example) -> str:
    page = render_prompt(tokenizer, example.prompt)
    return page if example.answer is None else f"{page} {example.answer}"
