"""The options of the stage and of its losses, free of torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ponder import ref, refs

AdvantageName: TypeAlias = Literal["group", "group_sample_std", "mean"]
KlName: TypeAlias = Literal["k1", "k2", "k3", "unbiased"]


@dataclass(frozen=True, kw_only=True)
class _ClippedLossConfig:
    epsilon_low: float = 0.2
    """How far below 1 a token's ratio may fall before its gradient stops; at 1 or more it never does."""
    epsilon_high: float = 0.2
    """How far above 1 a token's ratio may rise before its gradient stops."""
    kl_coef: float = 0.0
    """Weight of the KL term against the reference policy; 0 needs no reference policy."""
    kl: KlName = "k3"
    """Estimator of the KL term. "unbiased" is DeepSeek-V3.2's, ratio * k3; "k1" has no useful gradient and only measures."""

    def __post_init__(self) -> None:
        for name in ("epsilon_low", "epsilon_high", "kl_coef"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be a number of at least 0, not {value}")


@dataclass(frozen=True, kw_only=True)
class GrpoLossConfig(_ClippedLossConfig):
    """The clipped objective of DeepSeekMath and DeepSeek-R1: a mean over each completion's tokens, then over completions.

    R1's first reinforcement stage sets both clip ranges to 10.
    """

    kl_coef: float = 0.001
    """Weight of the KL term against the reference policy (0.001 in DeepSeek-R1); 0 needs no reference policy."""


@dataclass(frozen=True, kw_only=True)
class DapoLossConfig(_ClippedLossConfig):
    """DAPO: a wider clip range upwards, and one mean over all tokens of the batch."""

    epsilon_high: float = 0.28
    """How far above 1 a token's ratio may rise before its gradient stops."""


@dataclass(frozen=True, kw_only=True)
class DrGrpoLossConfig(_ClippedLossConfig):
    """Dr. GRPO: token sums over a constant, then a mean over completions; meant for `advantage: mean`."""

    denominator: int | None = None
    """The constant that a completion's sum is divided by; null takes the sampler's length limit."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.denominator is not None and self.denominator < 1:
            raise ValueError("denominator must be at least 1, or null for the sampler's length limit")


@dataclass(frozen=True, kw_only=True)
class GrpoConfig:
    """Reinforce what a policy does better than its own average: group relative policy optimisation."""

    policy: str = ref("policy")
    """The policy to train, or the stage that made it."""
    task: str = ref("task")
    """The problems."""
    rewards: list[str] = refs("reward")
    """What completions are scored by; the score is the weighted sum."""
    sampler: str = ref("sampler", default={"type": "fast", "temperature": 1.0})
    """How completions are drawn."""
    loss: str = ref("loss", default="grpo")
    """The objective: `grpo`, `dapo`, `dr_grpo` or another plugin's."""
    advantage: AdvantageName = "group"
    """Reward minus the group's mean; "group" divides by its population standard deviation, "group_sample_std" by its sample
    standard deviation (as TRL), "mean" by nothing (Dr. GRPO, DeepSeek-V3.2)."""
    group_size: int = 16
    """Completions for each prompt."""
    prompts_per_step: int = 32
    """Different prompts in a step."""
    steps: int = 400
    """How often completions are drawn and learnt from."""
    minibatches: int = 1
    """Parts, of whole groups drawn at random, that a step's completions are cut into, with an optimizer update for each (16 in DeepSeek-R1)."""
    epochs: int = 1
    """Passes over a step's completions."""
    learning_rate: float = 3e-6
    """AdamW's learning rate, after the warm-up (3e-6 in DeepSeek-R1)."""
    schedule: Literal["constant", "linear"] = "constant"
    """How the learning rate goes on after the warm-up: "linear" falls to 0 behind the last step."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises from 0."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay rates of the first and second moment."""
    weight_decay: float = 0.0
    """AdamW's weight decay, on matrices only."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this global norm."""
    micro_batch_tokens: int = 16384
    """Tokens in one forward and backward pass; the gradient does not depend on it, memory and speed do."""
    reference: str | None = ref("policy", default=None)
    """The policy that the KL term holds on to; null is the policy that training starts from."""
    reference_refresh: int = 400
    """Updates after which the reference becomes the current policy (400 in DeepSeek-R1); 0 is never. Takes effect between steps."""
    mask_truncated: bool = False
    """Leave completions that the length limit cut off out of the groups' statistics and of the loss."""
    language: Literal["en", "zh"] = "en"
    """The language whose share of the words is measured as `language_consistency`."""
    probes: int = 4
    """Problems of the task that are answered again and again with the same random numbers, for the report."""
    probe_every: int = 20
    """Steps between two answers to the probes."""
    table_every: int = 10
    """Steps between two of which some completions are kept in `rollouts.jsonl`."""
    max_skipped: int = 10
    """Updates in a row with a non-finite loss or gradient after which the stage gives up; each leaves the weights untouched."""
    checkpoint_every: int | None = None
    """Steps between checkpoints; null leaves it to the clock."""

    def __post_init__(self) -> None:
        _at_least(
            self, 1, "prompts_per_step", "steps", "minibatches", "epochs", "probe_every", "table_every", "max_skipped"
        )
        _at_least(self, 0, "warmup_steps", "reference_refresh", "probes", "weight_decay")
        if self.group_size < 2:
            raise ValueError("group_size must be at least 2: a completion is compared with others to the same prompt")
        if self.prompts_per_step % self.minibatches:
            raise ValueError(
                f"prompts_per_step ({self.prompts_per_step}) must be a multiple of minibatches ({self.minibatches}): groups stay whole"
            )
        if not 0 < self.learning_rate < math.inf or not 0 < self.max_grad_norm < math.inf:
            raise ValueError("learning_rate and max_grad_norm must be greater than 0")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must lie in [0, 1), not {list(self.betas)}")
        _at_least(self, 16, "micro_batch_tokens")
        if self.checkpoint_every is not None:
            _at_least(self, 1, "checkpoint_every")
        if not self.rewards:
            raise ValueError("rewards must name at least one reward")

    @property
    def updates_per_step(self) -> int:
        """Optimizer updates that a step's completions are used for."""
        return self.minibatches * self.epochs

    def plan(self) -> str:
        """The batch arithmetic in one sentence."""
        drawn = self.prompts_per_step * self.group_size
        updates = "1 update" if self.updates_per_step == 1 else f"{self.updates_per_step} updates"
        steps = "1 step draws" if self.steps == 1 else f"{self.steps:,} steps draw"
        return (
            f"{self.prompts_per_step} prompts x {self.group_size} completions = {drawn:,} completions a step, "
            f"in {updates}; {steps} {drawn * self.steps:,} completions"
        )


def _at_least(config: object, least: int, *names: str) -> None:
    for name in names:
        if getattr(config, name) < least:
            raise ValueError(f"{name} must be at least {least}, not {getattr(config, name)}")
