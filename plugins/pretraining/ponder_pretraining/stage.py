"""The stage `pretrain`."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ponder import Example, Policy, StageResult, Task
from ponder.context import StageContext
from ponder.durable import read_json, write_json
from ponder.errors import InputError, StageError
from ponder.hf import (
    FORWARD_AND_BACKWARD,
    TrainingState,
    active_parameters,
    adamw,
    clip_gradients,
    render_prompt,
    set_learning_rate,
)
from ponder.hf_pretraining import TokenBatch, objective_of
from ponder_pretraining import PretrainConfig
from ponder_pretraining.packing import packed_rows


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
        run = _Run(config, policy)
        batches = run.batches(context.task(config.task), context.seed)
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
            context.log(run.step(batch, step), step)
            context.timing({"tokens_per_second": batch.predicted / (time.perf_counter() - started)}, step)
        policy.model.eval()
        policy.save(context.directory / "policy")
        metrics = {
            "loss": run.recent_loss,
            "flops": float(FORWARD_AND_BACKWARD * active_parameters(policy.model) * config.read),
        }
        return StageResult(policy=context.directory / "policy", metrics=metrics)


class _Run:
    """One pre-training run: what changes from step to step."""

    def __init__(self, config: PretrainConfig, policy: Policy) -> None:
        self._config = config
        self._policy = policy
        betas = (config.beta1, config.beta2)
        self._optimizer = adamw(policy.model, config.learning_rate, betas, config.weight_decay)
        self._objective = objective_of(policy)
        self._skipped = 0
        self.recent_loss = math.nan
        self.state = _State(self, TrainingState(policy, self._optimizer))

    def batches(self, task: Task, seed: int) -> Iterator[TokenBatch]:
        """An endless stream of packed rows."""
        config, tokenizer = self._config, self._policy.tokenizer
        check_tokenizer(tokenizer)

        def documents() -> Iterator[str]:
            return (_document(tokenizer, example) for example in task.examples())

        def tokenize(texts: list[str]) -> list[list[int]]:
            ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
            return [[*document, tokenizer.eos_token_id] for document in ids]

        rows = packed_rows(documents, tokenize, config.sequence_length, seed)
        while batch := list(itertools.islice(rows, config.rows)):
            yield TokenBatch.pack(batch, config.sequence_length, int(tokenizer.pad_token_id))

    def step(self, batch: TokenBatch, step: int) -> dict[str, float]:
        """One optimizer step; a step that is not finite leaves every weight as it was."""
        config, model = self._config, self._policy.model
        rate = config.learning_rate * learning_rate_share(step, config)
        set_learning_rate(self._optimizer, rate)
        progress = step / config.steps
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
        return {"learning_rate": rate, "grad_norm": norm, "skipped": float(not finite), **metrics}

    def _count_skips(self, finite: bool, step: int) -> None:
        self._skipped = 0 if finite else self._skipped + 1
        if self._skipped >= self._config.max_skipped:
            raise StageError(
                f"the loss or its gradient was not finite in {self._skipped} steps in a row, up to step {step}: "
                "lower learning_rate, lengthen warmup, or look at the documents; the weights are those before these steps"
            )


class _State:
    """A run's checkpoint: weights and optimizer, and the loss of the step before, which the result tells."""

    def __init__(self, run: _Run, training: TrainingState) -> None:
        self._run = run
        self._training = training

    def save(self, directory: Path) -> None:
        """Write everything that later steps and the result depend on."""
        self._training.save(directory)
        write_json(directory / "loss.json", self._run.recent_loss)

    def load(self, directory: Path) -> None:
        """Restore what `save` wrote."""
        self._training.load(directory)
        loss = read_json(directory / "loss.json")
        self._run.recent_loss = math.nan if loss is None else loss


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
