"""The stage `pretrain`."""

from __future__ import annotations

import math
import time

from ponder import StageResult
from ponder.context import StageContext
from ponder.hf import FORWARD_AND_BACKWARD, active_parameters
from ponder_pretraining import PretrainConfig
from ponder_pretraining.packing import packed_rows
from ponder_pretraining.training import Training, batches, next_batch


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
        training = Training(config, policy, config.learning_rate)
        task = context.task(config.task)
        stream = batches(policy.tokenizer, task, packed_rows, config.sequence_length, config.rows, context.seed)
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
            context.log(training.step(batch, step, rate, step / config.steps), step)
            context.timing({"tokens_per_second": batch.predicted / (time.perf_counter() - started)}, step)
        policy.model.eval()
        policy.save(context.directory / "policy")
        metrics = {
            "loss": training.recent_loss,
            "flops": float(FORWARD_AND_BACKWARD * active_parameters(policy.model) * config.read),
        }
        return StageResult(policy=context.directory / "policy", metrics=metrics)


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
