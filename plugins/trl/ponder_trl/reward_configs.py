"""The options of the stage `reward_model` and of the reward `preference`, free of torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

from ponder import RewardConfig, passthrough, ref
from ponder_trl.owned import OWNED_BY_THE_LOOP
from ponder_trl.ranges import above_zero, at_least

Sees: TypeAlias = Literal["summary", "response"]
Kind: TypeAlias = Literal["pairwise", "pointwise"]
Scale: TypeAlias = Literal["sigmoid", "normalised", "raw"]

OWNED = (
    *OWNED_BY_THE_LOOP,
    "max_length",
    "pad_to_multiple_of",
    "eos_token",
    "pad_token",
    "chat_template_path",
    "dataset_num_proc",
)
"""Fields of TRL's RewardConfig that the stage sets, or has no use for."""


@dataclass(frozen=True, kw_only=True)
class RewardModelConfig:
    """Train a reward model: a policy's network with one number as its output, on responses that were compared or labelled.

    Defaults after DeepSeek-R1 (Methods): batches of 256, a learning rate of 6e-6, one epoch, at most 8,192 tokens.
    """

    example: ClassVar[Mapping[str, object]] = {
        "task": {"type": "mini_preferences", "size": 24},
        "batch_size": 8,
    }

    policy: str = ref("policy")
    """The policy whose weights the model begins with, or the stage that made it; its output layer is replaced."""
    task: str = ref("task")
    """Comparisons: examples with the columns `chosen` and `rejected`, two responses; with `kind: pointwise`, `response` and `label`."""
    kind: Literal["pairwise", "pointwise"] = "pairwise"
    """pairwise: the chosen response shall score above the rejected one (R1's helpfulness model). pointwise: a response labelled
    1 (safe, good) shall score above 0 and one labelled 0 below, by cross-entropy (R1's safety model)."""
    sees: Literal["summary", "response"] = "summary"
    """What of a response the model is shown after the prompt: only the final summary (R1's helpfulness model), or all of it, reasoning
    included (R1's safety model). The reward made from it is shown the same."""
    epochs: int = 1
    """Passes over the comparisons."""
    batch_size: int = 256
    """Comparisons of one optimizer step; all there are, where that is fewer."""
    micro_batch_size: int = 32
    """Most comparisons in one forward and backward pass: the largest divisor of the batch that is not above it is used."""
    learning_rate: float = 6e-6
    """AdamW's highest learning rate, reached after the warm-up."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises from 0."""
    min_learning_rate_ratio: float = 1.0
    """Where half a cosine from the highest learning rate ends, as a share of it; 1 keeps the rate constant."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay rates of the first and second moment."""
    weight_decay: float = 0.0
    """AdamW's weight decay, on matrices only."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this global norm."""
    max_length: int = 8192
    """Longest prompt with response in tokens; longer ones are left out of the training, with their count. Scoring has no limit but
    the model's context."""
    held_out_share: float = 0.1
    """Share of the comparisons, whole prompts at a time, that is not trained on: `accuracy` is measured there."""
    balance_lengths: bool = False
    """Leave out comparisons until the longer response is chosen as often as the shorter one, so that length alone tells nothing
    (the paper matches lengths); `length_bias` is reported in any case."""
    trl: dict[str, Any] = passthrough("trl:RewardConfig", owned=OWNED)
    """Further options of TRL's trainer, such as `center_rewards_coefficient`."""
    max_skipped: int = 5
    """Stop after this many steps in a row whose loss or gradient is not finite; such steps change no weight."""
    checkpoint_every: int | None = None
    """Steps between checkpoints; null leaves it to the clock."""

    def __post_init__(self) -> None:
        at_least(self, 1, "epochs", "batch_size", "micro_batch_size", "max_length", "max_skipped")
        at_least(self, 0, "warmup_steps", "weight_decay")
        above_zero(self, "learning_rate", "max_grad_norm")
        if not 0 <= self.min_learning_rate_ratio <= 1:
            raise ValueError(f"min_learning_rate_ratio is a share between 0 and 1, not {self.min_learning_rate_ratio}")
        if not 0 < self.held_out_share < 1:
            raise ValueError(
                f"held_out_share must lie between 0 and 1, not {self.held_out_share}: without comparisons that it has not "
                "been trained on, nothing tells how good the model is"
            )
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must lie in [0, 1), not {list(self.betas)}")
        if self.checkpoint_every is not None:
            at_least(self, 1, "checkpoint_every")
        if self.balance_lengths and self.kind == "pointwise":
            raise ValueError("balance_lengths compares the two responses of a pair: take it out, or use kind: pairwise")


@dataclass(frozen=True, kw_only=True)
class PreferenceConfig(RewardConfig):
    """The score of a reward model, shown what it was trained to see of a response.

    A response without a summary, where the model sees only that, gets the lowest score: 0 for `sigmoid`, -3 for `normalised`, for `raw`
    the lowest score of the training data. Abstains where prompt and response exceed the model's context.
    """

    example: ClassVar[Mapping[str, object]] = {"model": {"type": "reward_model"}}

    model: str = ref("stage")
    """The `reward_model` stage."""
    scale: Literal["sigmoid", "normalised", "raw"] = "sigmoid"
    """sigmoid: in [0, 1], on a level with the rule-based rewards: the logistic function of the normalised score, so that 0.5 is an average
    training response; of a pointwise model the probability of label 1. normalised: minus the mean and divided by the standard
    deviation of the training data's scores, and kept in [-3, 3]. raw: as the model puts it out, without bounds."""
    batch_size: int = 64
    """Responses in one forward pass."""

    def __post_init__(self) -> None:
        at_least(self, 1, "batch_size")


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig(RewardConfig):
    """The score of a ready-made reward model: a sequence classifier with one output, read from a directory.

    A response without a summary, where the model sees only that, gets `lowest`. Abstains where prompt and response exceed the model's
    context. For a model that a stage of the recipe makes, `preference` knows what it was trained to see.
    """

    path: Path
    """The directory, with safetensors and tokenizer, for transformers' AutoModelForSequenceClassification."""
    sees: Literal["summary", "response"] = "summary"
    """What the model is shown after the prompt: only what follows the reasoning, or all of the response."""
    scale: Literal["sigmoid", "raw"] = "sigmoid"
    """sigmoid: in [0, 1], the logistic function of the score; raw: as the model puts it out, without bounds."""
    lowest: float = 0.0
    """What a response gets that has nothing for the model to see; lower than any score of a `raw` model."""
    batch_size: int = 64
    """Responses in one forward pass."""

    def __post_init__(self) -> None:
        at_least(self, 1, "batch_size")
        if not math.isfinite(self.lowest):
            raise ValueError(f"lowest must be a finite number, not {self.lowest}")
