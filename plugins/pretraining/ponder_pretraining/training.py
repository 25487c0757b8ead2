"""What the stages share: packed batches of a task's documents, and optimizer steps on them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

from ponder import Example, Policy, Task
from ponder.errors import InputError, StageError
from ponder.hf import TrainingState, adamw, clip_gradients, render_prompt, set_learning_rate
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
        betas = (config.beta1, config.beta2)
        self._optimizer = adamw(policy.model, learning_rate, betas, config.weight_decay)
        self._objective = objective_of(policy)
        self._skipped = 0
        self.recent_loss = math.nan
        self.state = TrainingState(policy, self._optimizer)

    def step(self, batch: TokenBatch, step: int, learning_rate: float, progress: float) -> dict[str, float]:
        """One optimizer step; a step that is not finite leaves every weight as it was."""
        config, model = self._config, self._policy.model
        set_learning_rate(self._optimizer, learning_rate)
        with working_precision(model, config.precision):
            loss, metrics = self._objective.loss(batch, progress)
            loss.backward()
        norm = clip_gradients(model.parameters(), config.max_grad_norm)
        finite = math.isfinite(norm) and math.isfinite(loss.item())
        self._count_skips(finite, step)
        if finite:
            self._optimizer.step()
            self._policy.version += 1
        self._optimizer.zero_grad(set_to_none=True)
        metrics |= self._objective.finish_step(progress, updated=finite)
        self.recent_loss = metrics["loss"]
        return {"learning_rate": learning_rate, "grad_norm": norm, "skipped": float(not finite), **metrics}

    def _count_skips(self, finite: bool, step: int) -> None:
        self._skipped = 0 if finite else self._skipped + 1
        if self._skipped >= self._config.max_skipped:
            raise StageError(
                f"the loss or its gradient was not finite in {self._skipped} steps in a row, up to step {step}: "
                "lower learning_rate, lengthen warmup, or look at the documents; the weights are those before these steps"
            )


Rows = Callable[[Documents, Tokenize, int, int], Iterator[list[list[int]]]]
"""`packed_rows` or `running_rows`."""


def batches(tokenizer: Any, task: Task, make_rows: Rows, length: int, rows: int, seed: int) -> Iterator[TokenBatch]:
    """An endless stream of batches of so many rows; it ends at once for a task without documents.

    Raises:
        InputError: the tokenizer cannot say where a document ends, or fill a row.
    """
    check_tokenizer(tokenizer)

    def documents() -> Iterator[str]:
        return (_document(tokenizer, example) for example in task.examples())

    def tokenize(texts: list[str]) -> list[list[int]]:
        ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
        return [[*document, tokenizer.eos_token_id] for document in ids]

    stream = make_rows(documents, tokenize, length, seed)
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


def _document(tokenizer: Any, example: Example) -> str:
    page = render_prompt(tokenizer, example.prompt)
    return page if example.answer is None else f"{page} {example.answer}"
