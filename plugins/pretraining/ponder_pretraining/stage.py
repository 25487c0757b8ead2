"""The stage `pretrain`."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ponder import Example, Policy, StageResult, Task
from ponder.context import StageContext
from ponder.errors import InputError, StageError
from ponder.hf import (
    FORWARD_AND_BACKWARD,
    TrainingState,
    adamw,
    clip_gradients,
    render_prompt,
    set_learning_rate,
)
from ponder.hf_pretraining import TokenBatch, objective_of
from ponder.tables import ExpertLoads
from ponder_pretraining import PretrainConfig
from ponder_pretraining.packing import packed_rows
from ponder_pretraining.validation import Validation, is_due


class Pretrain:
    """Trains a policy to predict the next token of a task's documents."""

    def __init__(self, config: PretrainConfig) -> None:
        self._config = config

    def run(self, context: StageContext) -> StageResult:
        """Train, and save the policy under `policy`.

        Raises:
            InputError: the task has no documents.
            StageError: the loss or the gradient was not finite for `max_skipped` steps in a row.
        """
        config = self._config
        policy = context.policy(config.policy)
        check_tokenizer(policy.tokenizer)
        run = _Run(config, policy)
        validation = self._validation(context, policy)
        batches = run.batches(context.task(config.task), context.seed, validation)
        loads = ExpertLoads(context.directory, context.journal("tables"), config.steps)
        done = 0
        policy.model.train()
        for step in context.steps(
            config.steps, run.state, checkpoint_every=config.checkpoint_every, description="pretrain"
        ):
            # A resumed run skips, without training, what the interrupted one had read.
            batch = next(itertools.islice(batches, step - done, None), None)
            done = step + 1
            if batch is None:
                raise InputError(f"the task {config.task!r} has no documents to pre-train on")
            started = time.perf_counter()
            metrics = run.step(batch, step)
            spent = time.perf_counter() - started
            if validation is not None and is_due(step, config):
                metrics["validation_loss"] = validation.loss(policy.model)
            context.log(metrics, step)
            context.timing({"tokens_per_second": batch.predicted / spent}, step)
            loads.add(step, run.expert_loads())
        policy.model.eval()
        policy.save(context.directory / "policy")
        # One that was resumed behind its last step has read nothing yet of what validation is to be compared with.
        deque(itertools.islice(batches, config.steps - done if validation else 0), maxlen=0)
        return StageResult(policy=context.directory / "policy", metrics=self._sum_up(context, run, validation))

    def _sum_up(self, context: StageContext, run: _Run, validation: Validation | None) -> dict[str, float]:
        """The result's metrics."""
        config, model = self._config, run.policy.model
        operations = FORWARD_AND_BACKWARD * run.objective.active_parameters() * config.read
        metrics = {"loss": run.state.recent_loss, "flops": float(operations)}
        if validation is None:
            return metrics
        loss = validation.loss(model)
        context.log({"validation_loss": loss}, config.steps)
        return {**metrics, "validation_loss": loss, "validation_overlap": validation.overlap}

    def _validation(self, context: StageContext, policy: Policy) -> Validation | None:
        config = self._config
        if config.validation is None:
            return None
        tokenizer = policy.tokenizer
        documents = documents_of(context.task(config.validation), tokenizer)
        return Validation(documents, partial(tokenize, tokenizer), int(tokenizer.pad_token_id), config)


class _Run:
    """One pre-training run: what changes from step to step."""

    def __init__(self, config: PretrainConfig, policy: Policy) -> None:
        self._config = config
        self.policy = policy
        betas = (config.beta1, config.beta2)
        self.objective = objective_of(policy)
        self._optimizer = adamw(policy.model, config.learning_rate, betas, config.weight_decay)
        self._skipped = 0
        self.state = _State(TrainingState(policy, self._optimizer))

    def batches(self, task: Task, seed: int, validation: Validation | None) -> Iterator[TokenBatch]:
        """An endless stream of packed rows; `validation` is shown every document."""
        config, tokenizer = self._config, self.policy.tokenizer

        def documents() -> Iterator[str]:
            read = documents_of(task, tokenizer)
            return read if validation is None else validation.watch(read)

        rows = packed_rows(documents, partial(tokenize, tokenizer), config.sequence_length, seed)
        while batch := list(itertools.islice(rows, config.rows)):
            yield TokenBatch.pack(batch, config.sequence_length, int(tokenizer.pad_token_id))

    def step(self, batch: TokenBatch, step: int) -> dict[str, float]:
        """One optimizer step; a step that is not finite leaves every weight as it was."""
        config, model = self._config, self.policy.model
        rate = config.learning_rate * learning_rate_share(step, config)
        set_learning_rate(self._optimizer, rate)
        progress = step / config.steps
        loss, metrics = self.objective.loss(batch, progress)
        loss.backward()
        norm = clip_gradients(model.parameters(), config.max_grad_norm)
        finite = math.isfinite(norm) and math.isfinite(loss.item())
        self._count_skips(finite, step)
        if finite:
            self._optimizer.step()
            self.policy.version += 1
        self._optimizer.zero_grad(set_to_none=True)
        metrics |= self.objective.finish_step(progress, updated=finite)
        self.state.recent_loss = metrics["loss"]
        return {"learning_rate": rate, "grad_norm": norm, "skipped": float(not finite), **metrics}

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
class _State:
    """Everything a later step, or what the stage reports, depends on."""

    training: TrainingState
    recent_loss: float = math.nan

    def save(self, directory: Path) -> None:
        """See `Checkpointable`."""
        self.training.save(directory)
        (directory / "loss.json").write_text(json.dumps(self.recent_loss), encoding="utf-8")

    def load(self, directory: Path) -> None:
        """See `Checkpointable`."""
        self.training.load(directory)
        self.recent_loss = json.loads((directory / "loss.json").read_text(encoding="utf-8"))


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


def learning_rate_share(step: int, config: PretrainConfig) -> float:
    """The learning rate of a step as a share of the highest: linear warm-up, a plateau, then a cosine."""
    warmup, decay = round(config.warmup * config.steps), round(config.decay * config.steps)
    if step < warmup:
        return (step + 1) / warmup
    into_decay = step - (config.steps - decay)
    if into_decay < 0:
        return 1.0
    cosine = 0.5 * (1 + math.cos(math.pi * (into_decay + 1) / decay))
    return config.final_learning_rate + (1 - config.final_learning_rate) * cosine
