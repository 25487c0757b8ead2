"""Floating-point operations: what tokens cost, and when a stage has spent what it was given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ponder.errors import InputError
from ponder_grpo.config import GrpoConfig
from ponder_grpo.rows import Row, count_tokens

if TYPE_CHECKING:
    from ponder.context import StageContext


@dataclass(frozen=True, slots=True)
class Budget:
    """What a stage may spend; `flops` is None when it is not limited."""

    flops: float | None
    stages: Sequence[str] = ()
    factor: float = 1.0

    def share(self, spent: int) -> dict[str, float]:
        """The share of the budget that is spent, as a metric; nothing without a budget."""
        return {} if self.flops is None else {"compute_share": spent / self.flops}

    def is_spent(self, spent: int) -> bool:
        """Whether nothing is left."""
        return self.flops is not None and spent >= self.flops

    def expected_steps(self, spent: int, steps_done: int, steps: int) -> int:
        """How many of `steps` there will be if they go on spending as much."""
        if not self.flops or not spent:
            return steps
        return min(steps, math.ceil(steps_done * self.flops / spent))

    def summary(self, spent: int, steps_done: int, steps: int) -> str | None:
        """Whether compute or steps ended the stage; None without a budget."""
        if self.flops is None:
            return None
        of = f"{100 * spent / self.flops:.3g} % of {self.flops:.4g} FLOPs ({self.factor:g} x {', '.join(self.stages)})"
        if self.is_spent(spent):
            return f"ended after {steps_done} of {steps} steps, with its compute spent: {of}"
        return f"ended with its {steps} steps, before its compute was spent: {of}; raise steps to spend it all"


def make_budget(config: GrpoConfig, context: StageContext) -> Budget:
    """The budget that `compute_of` and `compute_factor` give.

    Raises InputError for a stage that did not count its operations, or when they come to nothing.
    """
    if not config.compute_of:
        return Budget(None)
    spent = [_flops_of(name, context) for name in config.compute_of]
    if sum(spent) <= 0:
        raise InputError(
            f"compute_of: the stages {', '.join(config.compute_of)} spent no compute, so there is none to give"
        )
    return Budget(config.compute_factor * sum(spent), tuple(config.compute_of), config.compute_factor)


def tokens_passed(rows: Sequence[Row]) -> int:
    """Tokens that go through a model for these rows: the prompt of a group once, and every completion."""
    return sum({row.group: len(row.prompt) for row in rows}.values()) + count_tokens(rows)


def _flops_of(name: str, context: StageContext) -> float:
    metrics = context.stage(name).result.metrics
    if "flops" not in metrics:
        raise InputError(
            f"compute_of names stage {name!r}, which counted no FLOPs: name stages that sample or train, such as sft or "
            "rejection_sampling"
        )
    return metrics["flops"]
