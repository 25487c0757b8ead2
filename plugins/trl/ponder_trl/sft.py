"""The stage `sft`."""

from __future__ import annotations

from collections.abc import Mapping

from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from ponder import Policy, StageResult
from ponder.context import StageContext
from ponder.hf import FORWARD_AND_BACKWARD, active_parameters
from ponder_trl import loop
from ponder_trl.batches import Batches
from ponder_trl.chat_templates import choose_chat_template
from ponder_trl.checks import (
    check_ends,
    check_packing,
    check_prompts,
    check_tags,
    check_tokenizer,
    check_unknown,
    count,
    within_length,
)
from ponder_trl.conversations import read_conversations
from ponder_trl.schedule import cosine
from ponder_trl.sft_config import SftConfig
from ponder_trl.step_trainer import RemainingBatches, StepTrainer

_KEPT = {"mean_token_accuracy": "token_accuracy", "entropy": "entropy", "aux_loss": "aux_loss"}
"""TRL's names of what it measures at each step, and ours."""

_SUMMED_UP = ("loss", "token_accuracy", "entropy")
"""What the stage's result holds means of, over the last steps."""


class SftTrainer(StepTrainer, SFTTrainer):
    """TRL's trainer on our batches."""


class Sft:
    """Trains a policy on the responses of a task."""

    def __init__(self, config: SftConfig) -> None:
        self._config = config

    def run(self, context: StageContext) -> StageResult:
        """Train, and save the policy, with the chat template that it was trained on, under `policy`.

        Raises:
            InputError: rows without a response or too long, or a tokenizer or chat template that cannot express them.
            StageError: the loss or the gradient was not finite for `max_skipped` steps in a row.
        """
        config = self._config
        policy = context.policy(config.policy)
        choose_chat_template(policy, config)
        batches, dropped = self._batches(context, policy)
        progress = loop.train(
            context,
            policy,
            self._pace(batches),
            lambda pieces: _make(policy, batches, pieces),
            options=config.trl,
            keep=_keep,
        )
        policy.save(context.directory / "policy")
        read = config.epochs * sum(map(len, batches.conversations))
        metrics = {
            **{name: value for name, value in progress.means().items() if name in _SUMMED_UP},
            "skipped": float(progress.skipped),
            "steps": batches.steps,
            "rows": len(batches.conversations),
            "rows_dropped": dropped,
            "tokens": config.epochs * sum(conversation.learnt for conversation in batches.conversations),
            "flops": float(FORWARD_AND_BACKWARD * active_parameters(policy.model) * read),
        }
        return StageResult(policy=context.directory / "policy", metrics=metrics)

    def _batches(self, context: StageContext, policy: Policy) -> tuple[Batches, int]:
        """The batches of all steps, and how many conversations were left out of them."""
        config = self._config
        check_tokenizer(policy.tokenizer, config.policy)
        if config.packing:
            check_packing(policy.model, config.policy)
        task = context.task(config.task)
        counts = count(task.examples())
        check_prompts(counts, config, context.say)
        check_tags(counts, policy.tokenizer, config.policy, context.say)
        conversations = read_conversations(task.examples(), policy.tokenizer, config.task)
        kept = within_length(conversations, policy.model, config, context.say)
        check_unknown(kept, policy.tokenizer, context.say)
        check_ends(kept, int(policy.tokenizer.eos_token_id), config.task)
        batches = Batches(
            conversations=kept,
            epochs=config.epochs,
            batch_size=config.batch_size,
            micro_batch_tokens=config.micro_batch_tokens,
            packing=config.packing,
            pad=int(policy.tokenizer.pad_token_id),
            seed=context.seed,
        )
        return batches, len(conversations) - len(kept)

    def _pace(self, batches: Batches) -> loop.Pace:
        config = self._config
        return loop.Pace.of(
            config,
            batches.steps,
            cosine(config.learning_rate, config.min_learning_rate_ratio, config.warmup_steps, batches.steps),
        )


def _make(policy: Policy, batches: Batches, pieces: loop.Pieces) -> SftTrainer:
    # TRL looks at one row to see what kind of data it is given; the batches come from us.
    part = batches(pieces.start).parts[0]
    sample = Dataset.from_dict({name: part[name][:1].tolist() for name in ("input_ids", "labels")})
    trainer = SftTrainer(
        model=policy.model,
        args=SFTConfig(**pieces.arguments, max_length=None, dataset_kwargs={"skip_prepare_dataset": True}),
        train_dataset=sample,
        processing_class=policy.tokenizer,
        data_collator=_no_collator,
        callbacks=pieces.callbacks,
        optimizers=pieces.optimizers,
    )
    trainer.batches = RemainingBatches(batches, pieces.start, batches.steps)
    return trainer


def _no_collator(rows: object) -> object:
    """Batches come collated; one of our own keeps TRL's hands off the tokenizer's padding."""
    return rows


def _keep(logs: Mapping[str, float]) -> dict[str, float]:
    return {ours: logs[theirs] for theirs, ours in _KEPT.items() if theirs in logs}
