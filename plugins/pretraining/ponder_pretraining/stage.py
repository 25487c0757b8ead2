"""The stage `pretrain`."""

from __future__ import annotations

import itertools
import math
import time
from collections import deque
from collections.abc import Iterator
from functools import partial

from ponder import Policy, StageResult
from ponder.context import StageContext
from ponder.hf import FORWARD_AND_BACKWARD
from ponder.tables import ExpertLoads
from ponder_pretraining import PretrainConfig
from ponder_pretraining.packing import packed_rows
from ponder_pretraining.training import Training, batches, check_tokenizer, documents_of, next_batch, tokenize
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
        training = Training(config, policy, config.learning_rate)
        validation = self._validation(context, policy)
        documents = partial(self._documents, context, policy, validation)
        stream = batches(policy.tokenizer, documents, packed_rows, config.sequence_length, config.rows, context.seed)
        loads = ExpertLoads(context.directory, context.journal("tables"), config.steps)
        done = 0
        policy.model.train()
        for step in context.steps(
            config.steps, training.state, checkpoint_every=config.checkpoint_every, description="pretrain"
        ):
            # A resumed run skips, without training, what the interrupted one had read.
            batch = next_batch(stream, step - done, config.task)
            done = step + 1
            started = time.perf_counter()
            rate = config.learning_rate * learning_rate_share(step, config)
            metrics = training.step(batch, step, rate, step / config.steps)
            spent = time.perf_counter() - started
            if validation is not None and is_due(step, config):
                metrics["validation_loss"] = validation.loss(policy.model)
            context.log(metrics, step)
            context.timing({"tokens_per_second": batch.predicted / spent}, step)
            loads.add(step, training.expert_loads())
        policy.model.eval()
        policy.save(context.directory / "policy")
        # One that was resumed behind its last step has read nothing yet of what validation is to be compared with.
        deque(itertools.islice(stream, config.steps - done if validation else 0), maxlen=0)
        metrics = self._sum_up(context, policy, training, validation)
        return StageResult(policy=context.directory / "policy", metrics=metrics)

    def _sum_up(
        self, context: StageContext, policy: Policy, training: Training, validation: Validation | None
    ) -> dict[str, float]:
        """The result's metrics."""
        operations = FORWARD_AND_BACKWARD * training.objective.active_parameters() * self._config.read
        metrics = {"loss": training.recent_loss, "flops": float(operations)}
        if validation is None:
            return metrics
        loss = validation.loss(policy.model)
        context.log({"validation_loss": loss}, self._config.steps)
        return {**metrics, "validation_loss": loss, "validation_overlap": validation.overlap}

    def _validation(self, context: StageContext, policy: Policy) -> Validation | None:
        config = self._config
        if config.validation is None:
            return None
        tokenizer = policy.tokenizer
        documents = documents_of(context.task(config.validation), tokenizer)
        return Validation(documents, partial(tokenize, tokenizer), int(tokenizer.pad_token_id), config)

    def _documents(self, context: StageContext, policy: Policy, validation: Validation | None) -> Iterator[str]:
        """The pages to train on; `validation` is shown every one."""
        pages = documents_of(context.task(self._config.task), policy.tokenizer)
        return pages if validation is None else validation.watch(pages)


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
