"""The options of the stage and of its losses, free of torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from ponder import ref, refs
from ponder.text import LanguageChoice
from ponder.workloads import Workload, length_limit
from ponder_grpo.presets import PRESETS, PresetName, own_deviations

if TYPE_CHECKING:
    from ponder.recipe import Recipe

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
class LengthLimit:
    """The longest completion from a step on."""

    step: int
    """The first step, counted from 0, with this limit."""
    max_new_tokens: int
    """The sampler's option of this name, in tokens."""

    def __post_init__(self) -> None:
        _at_least(self, 0, "step")
        _at_least(self, 1, "max_new_tokens")


@dataclass(frozen=True, kw_only=True)
class GrpoConfig:
    """Reinforce what a policy does better than its own average: group relative policy optimisation."""

    example: ClassVar[Mapping[str, object]] = {"group_size": 4, "prompts_per_step": 4, "steps": 4}

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS

    preset: PresetName | None = None
    """Published settings that the options left out are taken from: "r1_zero", "r1" and "r1_final" (DeepSeek-R1-Zero and the two
    reinforcement stages of DeepSeek-R1), "dapo", "dr_grpo". What the run changes of them is printed and kept in `deviations.json`."""
    policy: str = ref("policy")
    """The policy to train, or the stage that made it."""
    task: str = ref("task")
    """The problems."""
    rewards: list[str] = refs("reward")
    """What completions are scored by; the score is the weighted sum. The first, where it says 0 or 1, is measured as `pass@1`."""
    reward_from: dict[str, int] = field(default_factory=dict)
    """First step, counted from 0, at which a reward counts, by the reward's name; before that it is not computed. DeepSeek-R1's
    last stage has its preference rewards in the last 400 of 1,700 steps."""
    task_from: dict[str, int] = field(default_factory=dict)
    """First step at which the problems of a part of a `mixture` are asked, by the part's name."""
    sampler: str = ref("sampler", default={"type": "fast", "temperature": 1.0})
    """How completions are drawn."""
    length_limits: list[LengthLimit] = field(default_factory=list)
    """A length curriculum: the sampler's `max_new_tokens` from a step on, as `[{step: 400, max_new_tokens: 512}]`; before the
    first such step it is the sampler's own (DeepSeek-R1-Zero doubled it at update 8,200)."""
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
    """How often completions are drawn and learnt from; at most, when `compute_of` names stages."""
    compute_of: list[str] = refs("stage", default=[])
    """Stages whose floating-point operations, summed, are what this stage may spend: it ends after the step that reaches them."""
    compute_factor: float = 1.0
    """How many times the operations of `compute_of` may be spent."""
    minibatches: int = 1
    """Parts, of whole groups drawn at random, that a step's completions are cut into, with an optimizer update for each (16 in DeepSeek-R1)."""
    epochs: int = 1
    """Passes over a step's completions."""
    learning_rate: float = 3e-6
    """AdamW's learning rate, after the warm-up (3e-6 in DeepSeek-R1)."""
    schedule: Literal["constant", "linear"] = "constant"
    """How the learning rate goes on after the warm-up: "linear" falls to 0 behind the last of `steps`, whether or not
    `compute_of` ends the stage before."""
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
    truncated: Literal["count", "mask", "penalise"] = "count"
    """Completions that the length limit cuts off: "count" takes them as they are, "mask" leaves them out of the groups'
    statistics and of the loss (DAPO's overlong filtering), "penalise" adds up to -1 to the score of every completion that
    ends in the last `overlong_buffer` tokens (DAPO, equation 13)."""
    overlong_buffer: int = 0
    """Tokens before the length limit over which the penalty grows from 0 to -1; `truncated: penalise` needs it, nothing else reads it."""
    dynamic_sampling: int = 0
    """Draws at most, after a step's first, of further prompts in place of those whose completions all score the same, until
    `prompts_per_step` groups teach something (DAPO, equation 11); 0 learns from what came first."""
    balance: float = 0.0
    """Gamma of a mixture's balancing without an auxiliary loss: how far each router's bias moves after an update (0.001 in the
    pre-training of DeepSeek-V3); 0 leaves the biases alone, as open frameworks do: DeepSeek's choice in reinforcement is not published."""
    router_replay: bool = False
    """Whether the experts that worked on each token when it was sampled work on it again in training, weighted by the current
    router (Keep Routing in DeepSeek-V3.2, section 3.1). The reference policy routes by itself."""
    keep_sampling_mask: bool = False
    """Whether probabilities in training, those of the sampler and of the reference included, are among the tokens that the sampler's
    top-k and top-p had left at that place (Keep Sampling Mask in DeepSeek-V3.2, section 3.1)."""
    language: LanguageChoice = "en"
    """The language whose share of the words is measured as `language_consistency`: `en`, `zh`, or that of each `question`."""
    probes: int = 4
    """Problems of the task that are answered again and again with the same random numbers, for the report."""
    probe_every: int = 20
    """Steps between two answers to the probes."""
    table_every: int = 10
    """Steps between two of which some completions are kept in `rollouts.jsonl`."""
    table_rows: Literal["some", "all"] = "some"
    """Which completions of these steps: "some" to read, or "all", with which `ponder score` can compare advantages."""
    max_sampler_gap: float = 0.5
    """Mean distance, in nats a token, between the sampler's and the trainer's log-probabilities of a step's first update above
    which the stage stops: what is learnt would be the gradient of another policy."""
    importance_cap: float | None = None
    """Truncated importance sampling (Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy RL training"), for
    samplers that compute otherwise than the trainer, such as `vllm`: each token's gradient is multiplied by the probability that the
    trainer gave it before the step's updates over the sampler's, at most this (2.0 there); null multiplies by nothing."""
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
        self._check_guards()
        _at_least(self, 16, "micro_batch_tokens")
        if self.checkpoint_every is not None:
            _at_least(self, 1, "checkpoint_every")
        if not self.rewards:
            raise ValueError("rewards must name at least one reward")
        _at_least(self, 0, "dynamic_sampling")
        if self.truncated == "penalise":
            _at_least(self, 1, "overlong_buffer")
        _check_schedule(self.reward_from, self.steps, "reward_from")
        _check_schedule(self.task_from, self.steps, "task_from")
        self._check_phases()
        if not 0 < self.compute_factor < math.inf:
            raise ValueError(f"compute_factor must be greater than 0, not {self.compute_factor}")

    def _check_guards(self) -> None:
        if not self.max_sampler_gap > 0:
            raise ValueError(f"max_sampler_gap must be greater than 0, not {self.max_sampler_gap}")
        if self.importance_cap is not None and not self.importance_cap > 0:
            raise ValueError(f"importance_cap must be greater than 0, not {self.importance_cap}")
        if not 0 <= self.balance < math.inf:
            raise ValueError(f"balance must be a number of at least 0, not {self.balance}")

    def _check_phases(self) -> None:
        for name in self.reward_from:
            if name not in self.rewards:
                raise ValueError(
                    f"reward_from names {name!r}, which is not one of the rewards: {', '.join(self.rewards)}"
                )
        first = min(self.reward_from.get(name, 0) for name in self.rewards)
        if first > 0:
            raise ValueError(f"reward_from leaves the steps before {first} without any reward")
        steps = [limit.step for limit in self.length_limits]
        if steps != sorted(set(steps)):
            raise ValueError(f"length_limits must rise from step to step, not stand at the steps {steps}")

    @property
    def updates_per_step(self) -> int:
        """Optimizer updates that a step's completions are used for."""
        return self.minibatches * self.epochs

    def plan(self) -> str:
        """The batch arithmetic in one sentence."""
        drawn = self.prompts_per_step * self.group_size
        updates = "1 update" if self.updates_per_step == 1 else f"{self.updates_per_step} updates"
        steps = "1 step draws" if self.steps == 1 else f"{self.steps:,} steps draw"
        bound = "at most " if self.compute_of else ""
        draws = "1 further draw" if self.dynamic_sampling == 1 else f"{self.dynamic_sampling} further draws"
        further = f", with up to {draws} each" if self.dynamic_sampling else ""
        return (
            f"{self.prompts_per_step} prompts x {self.group_size} completions = {drawn:,} completions a step, "
            f"in {updates}; {bound}{steps} {drawn * self.steps:,} completions{further}{self._changes()}"
        )

    def workload(self, recipe: Recipe) -> Workload:
        """At most what completions of the length limit come to, for planning; prompts are not counted.

        Not known before its time when `compute_of` ends the stage.
        """
        limits = [length_limit(recipe, self.sampler), *(limit.max_new_tokens for limit in self.length_limits)]
        longest = max((limit for limit in limits if limit is not None), default=None)
        drawn = self.prompts_per_step * self.group_size
        if longest is None:
            return Workload(trained=None, pass_tokens=self.micro_batch_tokens)
        pass_tokens = min(self.micro_batch_tokens, drawn // self.minibatches * longest)
        if self.compute_of:
            return Workload(trained=None, length=longest, pass_tokens=pass_tokens)
        tokens = self.steps * drawn * longest
        has_reference = getattr(recipe.losses[self.loss].config, "kl_coef", 0) > 0
        return Workload(
            trained=self.epochs * tokens,
            read=tokens * (1 + self.dynamic_sampling + has_reference),
            length=longest,
            pass_tokens=pass_tokens,
            is_bound=True,
        )

    def _changes(self) -> str:
        if self.preset is None:
            return ""
        count = len(own_deviations(self.preset, self))
        options = "1 option" if count == 1 else f"{count} options"
        return f"; {options} of preset {self.preset} changed, besides loss and sampler"


def _check_schedule(first_steps: Mapping[str, int], steps: int, option: str) -> None:
    for name, step in first_steps.items():
        if not 0 <= step < steps:
            raise ValueError(f"{option}: {name!r} begins at step {step}, but the steps are 0 to {steps - 1}")


def _at_least(config: object, least: int, *names: str) -> None:
    for name in names:
        if getattr(config, name) < least:
            raise ValueError(f"{name} must be at least {least}, not {getattr(config, name)}")
