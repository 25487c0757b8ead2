"""Stage `grpo` (group relative policy optimisation) and the losses `grpo`, `dapo` and `dr_grpo`."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING

from ponder import Component, Loss, Stage, hookimpl, lazy
from ponder.doctor import Check
from ponder_grpo.config import DapoLossConfig, DrGrpoLossConfig, GrpoConfig, GrpoLossConfig

if TYPE_CHECKING:
    from ponder.doctor import Patient

__all__ = ["DapoLossConfig", "DrGrpoLossConfig", "GrpoConfig", "GrpoLossConfig"]


@hookimpl
def ponder_stages() -> Iterator[Component[Stage]]:
    yield Component("grpo", GrpoConfig, lazy("ponder_grpo.stage:GrpoStage"))


@hookimpl
def ponder_losses() -> Iterator[Component[Loss]]:
    yield Component("grpo", GrpoLossConfig, lazy("ponder_grpo.losses:GrpoLoss"))
    yield Component("dapo", DapoLossConfig, lazy("ponder_grpo.losses:DapoLoss"))
    yield Component("dr_grpo", DrGrpoLossConfig, lazy("ponder_grpo.losses:DrGrpoLoss"))


@hookimpl
def ponder_checks() -> Iterator[Check]:
    yield Check(
        "sampler",
        "Does the sampler tell the log-probabilities that the trainer computes, and the same text for the same seed?",
        _draws,
        lazy("ponder_grpo.checks:examine_sampler"),
    )
    yield Check(
        "spread",
        "Does the policy, as it is now, write completions with different scores?",
        _learns,
        lazy("ponder_grpo.checks:examine_spread"),
    )
    yield Check(
        "prompts",
        "Do the prompts leave room in the policy's context for an answer?",
        _asks,
        lazy("ponder_grpo.checks:examine_prompts"),
    )
    yield Check(
        "parts",
        "Does the task have the parts that `task_from` names, and enough to ask at first?",
        _begins_later,
        lazy("ponder_grpo.checks:examine_parts"),
    )


def _draws(patient: Patient) -> Hashable | None:
    if patient.entry.type != "grpo":
        return None
    return (patient.starting_point, patient.names("sampler", "sampler"), patient.names("task", "task"))


def _asks(patient: Patient) -> Hashable | None:
    return (patient.starting_point, patient.names("task", "task")) if patient.entry.type == "grpo" else None


def _learns(patient: Patient) -> Hashable | None:
    """Only of a policy that has learnt something: how a new one scores says nothing about the recipe."""
    if patient.entry.type != "grpo" or not patient.is_trained:
        return None
    return patient.entry.name


def _begins_later(patient: Patient) -> Hashable | None:
    return patient.entry.name if patient.entry.type == "grpo" and patient.entry.config.task_from else None
