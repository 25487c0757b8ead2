"""The stage `trl_grpo`: TRL's GRPOTrainer learns from completions that ponder draws and scores."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from ponder import Policy, Sampler, StageResult
from ponder.errors import InputError
from ponder.hf import FORWARD, FORWARD_AND_BACKWARD, active_parameters, quiet_files
from ponder_trl import loop
from ponder_trl.drawing import Drawer, Draws, Problems, load_examples, measures_of
from ponder_trl.experts import with_fast_experts
from ponder_trl.grpo_config import TrlGrpoConfig
from ponder_trl.reference import WithoutAdapters, has_adapters, kept_copy
from ponder_trl.schedule import constant
from ponder_trl.step_trainer import StepTrainer

if TYPE_CHECKING:
    from ponder.context import StageContext


class TrlGrpoTrainer(StepTrainer, GRPOTrainer):
    """TRL's trainer in ponder's loop."""


class TrlGrpo:
    """Trains a policy on a task's problems with rewards; see `TrlGrpoConfig`."""

    def __init__(self, config: TrlGrpoConfig) -> None:
        self._config = config

    def run(self, context: StageContext) -> StageResult:
        """See `Stage`.

        Raises:
            InputError: the task cannot fill a step, or the sampler is greedy.
            StageError: the loss or the gradient was not finite for `max_skipped` updates in a row, or a reward scored nothing.
        """
        config = self._config
        examples = load_examples(context, config.task, config.prompts_per_step)
        rubric = context.rubric(config.rewards)
        rubric.check(examples, config.task)
        policy = context.policy(config.policy)
        sampler = context.sampler(config.sampler)
        problems = Problems(examples, context.seed)
        drawer = Drawer(config, context, policy, sampler, rubric, context.journal(), problems)
        draws = Draws(drawer, config.updates_per_step)
        sampling = _sampling(sampler, config.sampler)
        directory = context.directory / "reference"
        # An interrupted run may have left a copy.
        shutil.rmtree(directory, ignore_errors=True)
        needs_copy = config.beta > 0 and not has_adapters(policy)
        with quiet_files(), kept_copy(policy, directory) if needs_copy else nullcontext():
            progress = loop.train(
                context,
                policy,
                self._pace(),
                lambda pieces: self._make_trainer(policy, draws, sampling, pieces),
                options=config.trl,
                keep=lambda logs: {**_taken(draws), **measures_of(logs)},
                extra=draws,
            )
        policy.save(context.directory / "policy")
        metrics = {**progress.means(), "skipped": float(progress.skipped), "flops": self._flops(policy, draws.tokens)}
        return StageResult(policy=context.directory / "policy", metrics=metrics)

    def _pace(self) -> loop.Pace:
        config = self._config
        return loop.Pace.of(
            config, config.steps * config.updates_per_step, constant(config.learning_rate, config.warmup_steps)
        )

    def _make_trainer(
        self, policy: Policy, draws: Draws, sampling: Mapping[str, Any], pieces: loop.Pieces
    ) -> TrlGrpoTrainer:
        config = self._config
        passes = config.completions // config.minibatches // config.rows_per_pass
        sizes = {
            "per_device_train_batch_size": config.rows_per_pass,
            "gradient_accumulation_steps": passes,
            "steps_per_generation": passes * config.minibatches,
            "num_iterations": config.epochs,
            "num_generations": config.group_size,
        }
        is_own_reference = config.beta > 0 and has_adapters(policy)
        trainer = TrlGrpoTrainer(
            model=policy.model,
            reward_funcs=_score,
            args=GRPOConfig(
                **{**pieces.arguments, **sizes, **sampling},
                # Above 0 the constructor loads a reference; adapters in place are not those of a PeftModel, which it would spare.
                beta=0.0 if is_own_reference else config.beta,
                shuffle_dataset=False,
            ),
            # What is asked is up to `draws`; the trainer is to see a step's worth of prompts, whichever they are.
            train_dataset=Dataset.from_dict({"prompt": [str(place) for place in range(config.prompts_per_step)]}),
            processing_class=policy.tokenizer,
            callbacks=pieces.callbacks,
            optimizers=pieces.optimizers,
            rollout_func=draws.give,
        )
        if is_own_reference:
            trainer.beta, trainer.ref_model = config.beta, WithoutAdapters(policy)
        elif trainer.ref_model is not None:
            with_fast_experts(trainer.ref_model)
        draws.attach(trainer, pieces.start)
        return trainer

    def _flops(self, policy: Policy, tokens: int) -> float:
        """2 for each parameter and token that is sampled or read by the reference or the old policy, 6 where it is learnt from."""
        config = self._config
        read = 1 + (config.beta > 0) + (config.updates_per_step > 1)
        return float(active_parameters(policy.model)) * tokens * (FORWARD * read + FORWARD_AND_BACKWARD * config.epochs)


def _score(score: Sequence[float | None], **_: object) -> list[float | None]:
    """The scores that came with the completions, as TRL asks for rewards."""
    return list(score)


def _taken(draws: Draws) -> dict[str, float]:
    """What was drawn for this update, if anything was."""
    taken, draws.measures = draws.measures, {}
    return taken


def _sampling(sampler: Sampler, name: str) -> dict[str, Any]:
    """The sampler's temperature and length limit as TRL calls them: its log-probabilities and some of its losses depend on them."""
    temperature = float(getattr(sampler, "temperature", 1.0))
    if not (math.isfinite(temperature) and temperature > 0):
        raise InputError(
            f"sampler {name!r} has temperature {temperature:g}: trl_grpo compares different answers, so it must be above 0"
        )
    limit = getattr(getattr(sampler, "config", sampler), "max_new_tokens", None)
    return {"temperature": temperature, **({"max_completion_length": limit} if limit else {})}
