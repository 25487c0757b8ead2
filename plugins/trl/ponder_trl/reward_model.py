"""The stage `reward_model`: TRL's RewardTrainer on a policy's network, measured on comparisons that it has not seen."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets import Dataset
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel
from trl import RewardConfig, RewardTrainer

from ponder import Policy, StageResult
from ponder.context import StageContext
from ponder.errors import InputError
from ponder.hf import FORWARD, FORWARD_AND_BACKWARD, active_parameters
from ponder.randomness import derive_seed
from ponder_trl import loop
from ponder_trl.comparisons import Comparison, Comparisons, check_rows, length_bias, make_comparisons
from ponder_trl.reward_batches import RewardBatches
from ponder_trl.reward_configs import RewardModelConfig
from ponder_trl.reward_network import DIRECTORY, Card, RewardNetwork, longest_input, make_network, scores_of
from ponder_trl.schedule import cosine
from ponder_trl.step_trainer import RemainingBatches, StepTrainer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NOTABLE_BIAS = 0.15
"""How far from one half the share of pairs whose longer response is chosen may be before the user is told."""
_KEPT = ("accuracy", "margin", "mean_reward", "min_reward", "max_reward")
"""What TRL's trainer logs that is a function of the recipe."""


class RewardModel:
    """Trains a reward model; see `RewardModelConfig`. It leaves the model in `reward_model` and no policy."""

    def __init__(self, config: RewardModelConfig) -> None:
        self._config = config

    def run(self, context: StageContext) -> StageResult:
        """See `Stage`.

        Raises:
            InputError: the task holds no comparisons, or none that can be used; the policy's tokenizer or architecture does
                not serve.
            StageError: the loss or the gradient was not finite for `max_skipped` steps in a row.
        """
        config = self._config
        examples = list(context.task(config.task).examples())
        check_rows(examples, config)
        trained = _make_trained(context.policy(config.policy), derive_seed(context.seed, "score layer"))
        limit = min(config.max_length, longest_input(trained.model) or config.max_length)
        comparisons = make_comparisons(examples, trained.tokenizer, config, limit, context.seed)
        _say_what_was_left_out(context, config, comparisons)
        batches = self._batches(comparisons.train, trained, context.seed)
        progress = loop.train(
            context,
            trained,
            self._pace(batches),
            lambda pieces: self._make_trainer(trained, batches, pieces),
            options=config.trl,
            keep=_keep,
        )
        return self._finish(context, trained, comparisons, batches, progress)

    def _batches(self, comparisons: Sequence[Comparison], trained: _Trained, seed: int) -> RewardBatches:
        return RewardBatches(
            comparisons=comparisons,
            epochs=self._config.epochs,
            batch_size=self._config.batch_size,
            micro_batch_size=self._config.micro_batch_size,
            pad=int(trained.tokenizer.pad_token_id),
            seed=seed,
        )

    def _pace(self, batches: RewardBatches) -> loop.Pace:
        config = self._config
        return loop.Pace.of(
            config,
            batches.steps,
            cosine(config.learning_rate, config.min_learning_rate_ratio, config.warmup_steps, batches.steps),
        )

    def _make_trainer(self, trained: _Trained, batches: RewardBatches, pieces: loop.Pieces) -> StepTrainer:
        trainer_type = PairwiseTrainer if self._config.kind == "pairwise" else PointwiseTrainer
        trainer = trainer_type(
            model=trained.model,
            args=RewardConfig(**pieces.arguments, max_length=None),
            # TRL looks at the columns to see what kind of data it is given; the batches come from us.
            train_dataset=Dataset.from_dict({"chosen_ids": [[batches.pad]], "rejected_ids": [[batches.pad]]}),
            processing_class=trained.tokenizer,
            callbacks=pieces.callbacks,
            optimizers=pieces.optimizers,
        )
        trainer.batches = RemainingBatches(batches, pieces.start, batches.steps)
        return trainer

    def _finish(
        self,
        context: StageContext,
        trained: _Trained,
        comparisons: Comparisons,
        batches: RewardBatches,
        progress: loop.Progress,
    ) -> StageResult:
        """Score everything, save the model with what it takes to normalise its scores, and sum up."""
        size = 2 * self._config.micro_batch_size
        on_train = _scores(trained.model, comparisons.train, size)
        on_held_out = _scores(trained.model, comparisons.held_out, size)
        card = _card(self._config, [score for scores in on_train for score in scores])
        RewardNetwork(trained.model, trained.tokenizer, card).save(context.directory / DIRECTORY)
        read = sum(comparison.tokens for comparison in (*comparisons.train, *comparisons.held_out))
        bias = length_bias(comparisons.train)
        metrics = {
            **measures(comparisons.held_out, on_held_out),
            **{f"train_{name}": value for name, value in measures(comparisons.train, on_train).items()},
            **{name: value for name, value in progress.means().items() if name == "loss"},
            **({} if bias is None else {"length_bias": bias}),
            "skipped": float(progress.skipped),
            "steps": batches.steps,
            "pairs": len(comparisons.train),
            "held_out_pairs": len(comparisons.held_out),
            "rows_dropped": sum(comparisons.left_out.values()),
            "flops": float(active_parameters(trained.model)) * (FORWARD_AND_BACKWARD * batches.tokens + FORWARD * read),
        }
        return StageResult(metrics=metrics)


@dataclass
class _Trained:
    """The network in the shape of a policy, as the loop takes it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    version: int = 0

    def save(self, directory: Path) -> None:
        """Write what a policy would."""
        self.model.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)


class PairwiseTrainer(StepTrainer, RewardTrainer):
    """TRL's trainer on our batches."""


class PointwiseTrainer(StepTrainer, RewardTrainer):
    """Binary cross-entropy on labelled responses (the safety model of DeepSeek-R1, Methods)."""

    def compute_loss(
        self, model: Any, inputs: Mapping[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """See `Trainer`."""
        labels = inputs["labels"]
        outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
        scores = outputs.logits.squeeze(-1).float()
        loss = F.binary_cross_entropy_with_logits(scores, labels)
        self._metrics["train"]["accuracy"].append(((scores > 0) == (labels > 0.5)).float().mean().item())
        self._metrics["train"]["mean_reward"].append(scores.mean().item())
        return (loss, outputs) if return_outputs else loss


def measures(comparisons: Sequence[Comparison], scores: Sequence[Sequence[float]]) -> dict[str, float]:
    """Accuracy, and the margin: by how much good responses score above bad ones on average.

    A pair is right when the better response scores higher; a labelled response when its score is above 0 exactly if its label is 1.
    The margin is left out where all labels are the same.
    """
    if comparisons[0].worse:
        margins = [better - worse for better, worse in scores]
        return {"accuracy": statistics.fmean(margin > 0 for margin in margins), "margin": statistics.fmean(margins)}
    labelled = [(comparison.label, score) for comparison, (score,) in zip(comparisons, scores, strict=True)]
    good, bad = ([score for label, score in labelled if label == kind] for kind in (1, 0))
    margin = {"margin": statistics.fmean(good) - statistics.fmean(bad)} if good and bad else {}
    return {"accuracy": statistics.fmean((score > 0) == (label == 1) for label, score in labelled), **margin}


def _make_trained(policy: Policy, seed: int) -> _Trained:
    tokenizer = policy.tokenizer
    if tokenizer.eos_token_id is None:
        raise InputError(
            "the policy's tokenizer has no eos_token, at which a reward model is read: set it, save the tokenizer and load the "
            "policy from there"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return _Trained(make_network(policy, seed), tokenizer)


def _card(config: RewardModelConfig, scores: Sequence[float]) -> Card:
    return Card(
        kind=config.kind,
        sees=config.sees,
        mean=statistics.fmean(scores),
        std=statistics.pstdev(scores) or 1.0,
        lowest=min(scores),
    )


def _keep(logs: Mapping[str, float]) -> dict[str, float]:
    return {name: float(logs[name]) for name in _KEPT if name in logs}


def _scores(model: PreTrainedModel, comparisons: Sequence[Comparison], batch_size: int) -> list[list[float]]:
    """For each comparison the score of the better response and, of a pair, of the worse."""
    sequences = [[comparison.better, *([comparison.worse] if comparison.worse else [])] for comparison in comparisons]
    found = iter(scores_of(model, [sequence for group in sequences for sequence in group], batch_size))
    return [[next(found) for _ in group] for group in sequences]


def _say_what_was_left_out(context: StageContext, config: RewardModelConfig, comparisons: Comparisons) -> None:
    for reason, count in comparisons.left_out.items():
        context.say(f"reward model: {count} rows of task {config.task!r} {reason}, and are left out")
    bias = length_bias(comparisons.train)
    if bias is not None and abs(bias - 0.5) > NOTABLE_BIAS:
        context.say(
            f"reward model: the longer response is the chosen one in {bias:.0%} of the pairs, which the model may learn instead of "
            "what is better; `balance_lengths: true` evens that out"
        )
