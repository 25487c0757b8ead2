"""The options of the stage `trl_grpo`, free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

from ponder import passthrough, ref, refs
from ponder_trl.owned import DRAWN_BY_PONDER, OWNED_BY_THE_LOOP
from ponder_trl.ranges import above_zero, at_least

OWNED: Final = (
    *OWNED_BY_THE_LOOP,
    *DRAWN_BY_PONDER,
    # Options of the stage, under other names.
    "num_generations",
    "num_generations_eval",
    "generation_batch_size",
    "steps_per_generation",
    "num_iterations",
    "use_transformers_paged",
    "use_transformers_continuous_batching",
    "transformers_continuous_batching_config",
    "vllm_importance_sampling_correction",
    "vllm_importance_sampling_mode",
    "vllm_importance_sampling_cap",
    "vllm_importance_sampling_clip_max",
    "vllm_importance_sampling_clip_min",
    # ponder's rewards score, with their weights.
    "reward_weights",
    "multi_objective_aggregation",
    # What a checkpoint of ours does not hold.
    "beta",
    "sync_ref_model",
    "ref_model_mixup_alpha",
    "ref_model_sync_steps",
    "use_adaptive_entropy",
    "entropy_coef_min",
    "entropy_coef_max",
    "entropy_coef_delta",
    "entropy_target",
    # ponder reports.
    "log_completions_hub_repo",
    "log_multimodal",
)
"""Fields of TRL's GRPOConfig that the stage sets, or has no use for."""

WORDS: Final[Mapping[str, Any]] = {
    "loss_type": Literal["grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo"],
    "importance_sampling_level": Literal["token", "sequence"],
    "scale_rewards": bool | Literal["group", "batch", "none"],
}
"""What TRL's trainer accepts where its annotation says `str` alone."""


@dataclass(frozen=True, kw_only=True)
class TrlGrpoConfig:
    """Group relative policy optimisation with TRL's trainer: ponder draws and scores, TRL computes advantages and losses.

    For those who want TRL's variants (`trl: {loss_type: cispo}`, sequence-level ratios, an entropy bonus); the stage `grpo` is ponder's own
    engine. Without such options the loss is TRL's default, `dapo`.
    """

    example: ClassVar[Mapping[str, object]] = {"group_size": 4, "prompts_per_step": 4, "steps": 4}

    policy: str = ref("policy")
    """The policy to train, or the stage that made it; also the reference of the KL term."""
    task: str = ref("task")
    """The problems."""
    rewards: list[str] = refs("reward")
    """What completions are scored by; the score is the weighted sum."""
    sampler: str = ref("sampler", default={"type": "fast", "temperature": 1.0})
    """How completions are drawn; its temperature and length limit are those that TRL is told."""
    group_size: int = 16
    """Completions for each prompt."""
    prompts_per_step: int = 32
    """Different prompts in a step."""
    steps: int = 400
    """How often completions are drawn and learnt from."""
    minibatches: int = 1
    """Parts, drawn at random, that a step's completions are cut into, with an optimizer update for each (16 in DeepSeek-R1)."""
    epochs: int = 1
    """Passes over a step's completions (TRL's `num_iterations`)."""
    micro_batch_size: int = 16
    """Most completions in one forward and backward pass: the largest divisor of an update's completions that is not above it is used."""
    learning_rate: float = 3e-6
    """AdamW's learning rate, constant after the warm-up."""
    warmup_steps: int = 0
    """Updates over which the learning rate rises from 0."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay rates of the first and second moment."""
    weight_decay: float = 0.0
    """AdamW's weight decay, on matrices only."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this global norm."""
    beta: float = 0.001
    """Weight of the KL term against the policy that training starts from; 0 needs no such policy."""
    trl: dict[str, Any] = passthrough("trl:GRPOConfig", owned=OWNED, types=WORDS)
    """Further options of TRL's trainer, such as `loss_type`, `epsilon_high`, `scale_rewards` and `importance_sampling_level`."""
    max_skipped: int = 10
    """Stop after this many updates in a row whose loss or gradient is not finite; such updates change no weight."""
    checkpoint_every: int | None = None
    """Updates between checkpoints; null leaves it to the clock."""

    def __post_init__(self) -> None:
        at_least(self, 1, "prompts_per_step", "steps", "minibatches", "epochs", "micro_batch_size", "max_skipped")
        at_least(self, 0, "warmup_steps", "weight_decay", "beta")
        above_zero(self, "learning_rate", "max_grad_norm")
        if self.group_size < 2:
            raise ValueError("group_size must be at least 2: a completion is compared with others to the same prompt")
        if self.completions % self.minibatches:
            raise ValueError(
                f"minibatches ({self.minibatches}) must divide the {self.completions} completions of a step "
                "(prompts_per_step x group_size)"
            )
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must lie in [0, 1), not {list(self.betas)}")
        if self.checkpoint_every is not None:
            at_least(self, 1, "checkpoint_every")
        if not self.rewards:
            raise ValueError("rewards must name at least one reward")

    @property
    def completions(self) -> int:
        """Completions of a step."""
        return self.prompts_per_step * self.group_size

    @property
    def updates_per_step(self) -> int:
        """Optimizer updates that a step's completions are used for."""
        return self.minibatches * self.epochs

    @property
    def rows_per_pass(self) -> int:
        """Completions in one forward and backward pass."""
        rows = self.completions // self.minibatches
        return next(n for n in range(min(self.micro_batch_size, rows), 0, -1) if rows % n == 0)

    def plan(self) -> str:
        """The batch arithmetic in one sentence."""
        updates = "1 update" if self.updates_per_step == 1 else f"{self.updates_per_step} updates"
        return (
            f"{self.prompts_per_step} prompts x {self.group_size} completions = {self.completions:,} completions a step, "
            f"in {updates}; {self.steps:,} steps draw {self.completions * self.steps:,} completions"
        )
