"""Stage `grpo` (group relative policy optimisation) and the losses `grpo`, `dapo` and `dr_grpo`."""

from __future__ import annotations

from collections.abc import Iterator

from ponder import Component, Loss, Stage, hookimpl, lazy
from ponder_grpo.config import DapoLossConfig, DrGrpoLossConfig, GrpoConfig, GrpoLossConfig

__all__ = ["DapoLossConfig", "DrGrpoLossConfig", "GrpoConfig", "GrpoLossConfig"]


@hookimpl
def ponder_stages() -> Iterator[Component[Stage]]:
    yield Component("grpo", GrpoConfig, lazy("ponder_grpo.stage:GrpoStage"))


@hookimpl
def ponder_losses() -> Iterator[Component[Loss]]:
    yield Component("grpo", GrpoLossConfig, lazy("ponder_grpo.losses:GrpoLoss"))
    yield Component("dapo", DapoLossConfig, lazy("ponder_grpo.losses:DapoLoss"))
    yield Component("dr_grpo", DrGrpoLossConfig, lazy("ponder_grpo.losses:DrGrpoLoss"))
