"""The options of the stage `on_policy_distillation`, free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from ponder import passthrough, ref
from ponder.workloads import Workload, length_limit
from ponder_trl.owned import DRAWN_BY_PONDER, OWNED_BY_THE_LOOP
from ponder_trl.ranges import above_zero, at_least, share

if TYPE_CHECKING:
    from ponder.recipe import Recipe

OWNED: Final = (
    *OWNED_BY_THE_LOOP,
    *DRAWN_BY_PONDER,
    # The teacher is a policy of the recipe.
    "teacher_model_name_or_path",
    "teacher_model_revision",
    "teacher_model_init_kwargs",
    # Options of the stage.
    "beta",
)
"""Fields of TRL's DistillationConfig that the stage sets, or has no use for."""


@dataclass(frozen=True, kw_only=True)
class OnPolicyDistillationConfig:
    """On-policy distillation with TRL's trainer: the student answers, and learns at each of its tokens what the teacher would say next.

    The loss is the generalised Jensen-Shannon divergence between the two next-token distributions (Agarwal et al. 2024, arXiv
    2306.13649, equation 1), in nats, averaged over the tokens of a step. It compares whole distributions, so teacher and student
    must have one tokenizer.
    """

    example: ClassVar[Mapping[str, object]] = {"prompts_per_step": 4, "steps": 4}

    policy: str = ref("policy")
    """The student to train, or the stage that made it."""
    teacher: str = ref("policy")
    """The policy that it learns from, or the stage that made it; only read."""
    task: str = ref("task")
    """The prompts; with `on_policy` below 1 also the responses, as for `sft`."""
    sampler: str = ref("sampler", default={"type": "fast", "temperature": 1.0})
    """How the student answers."""
    on_policy: float = 1.0
    """Share of prompts that the student answers (lambda in the paper); for the others the task's own response is read. 0 is supervised
    distillation."""
    beta: float = 1.0
    """Which divergence: 0 is the forward Kullback-Leibler divergence (the student covers whatever the teacher might say), 1 the reverse
    one (it keeps to what the teacher finds likely), and in between the teacher's weight in the mixture that both are compared with."""
    temperature: float = 1.0
    """What the logits of both are divided by before they are compared; the student answers at the sampler's own temperature."""
    prompts_per_step: int = 32
    """Different prompts in a step, each with one answer."""
    steps: int = 400
    """Optimizer steps, each on answers of the student as it then is."""
    micro_batch_tokens: int = 16384
    """Tokens in one forward and backward pass, padding included; the gradient does not depend on it, memory and speed do."""
    learning_rate: float = 1e-5
    """AdamW's learning rate, constant after the warm-up."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises from 0."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay rates of the first and second moment."""
    weight_decay: float = 0.0
    """AdamW's weight decay, on matrices only."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this global norm."""
    trl: dict[str, Any] = passthrough("trl:DistillationConfig", owned=OWNED)
    """Further options of TRL's trainer, such as `bf16`, `gradient_checkpointing` and `disable_dropout`."""
    max_skipped: int = 10
    """Stop after this many steps in a row whose loss or gradient is not finite; such steps change no weight."""
    checkpoint_every: int | None = None
    """Steps between checkpoints; null leaves it to the clock."""

    def __post_init__(self) -> None:
        at_least(self, 1, "prompts_per_step", "steps", "max_skipped")
        at_least(self, 16, "micro_batch_tokens")
        at_least(self, 0, "warmup_steps", "weight_decay")
        above_zero(self, "learning_rate", "max_grad_norm", "temperature")
        share(self, "on_policy", "beta")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must lie in [0, 1), not {list(self.betas)}")
        if self.checkpoint_every is not None:
            at_least(self, 1, "checkpoint_every")

    def plan(self) -> str:
        """The batch arithmetic in one sentence."""
        total = self.prompts_per_step * self.steps
        drawn = round(total * self.on_policy)
        read = f", {total - drawn:,} are the task's" if drawn < total else ""
        return (
            f"{self.prompts_per_step} prompts a step x {self.steps:,} steps = {total:,} answers: "
            f"{drawn:,} are drawn from the student{read}"
        )

    def workload(self, recipe: Recipe) -> Workload:
        """At most what answers of the sampler's length limit come to, for planning; prompts are not counted."""
        longest = length_limit(recipe, self.sampler)
        if longest is None:
            return Workload(trained=None, pass_tokens=self.micro_batch_tokens)
        tokens = self.steps * self.prompts_per_step * longest
        a_pass = min(self.micro_batch_tokens, self.prompts_per_step * longest)
        return Workload(trained=tokens, read=2 * tokens, length=longest, pass_tokens=a_pass, is_bound=True)
