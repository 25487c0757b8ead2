"""What `ponder doctor` looks at in a stage `evaluate`: whether its problems are among what the policy will have learnt from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ponder.doctor import Finding, NotYetError, Patient
from ponder.errors import PonderError
from ponder_evaluation.contamination import MOST_PROMPTS, is_page, question_of

if TYPE_CHECKING:
    from ponder.types import Example


def examine_contamination(patient: Patient) -> Iterator[Finding]:
    """Compare the questions, word for word, with the prompts of all tasks that the stages behind the policy learn from."""
    asked = {question_of(example) for example in patient.examples(MOST_PROMPTS)}
    (exam, *_) = patient.names("task", "task")
    for stage in _behind(patient):
        learnt = _prompts(stage)
        shared = asked & {question_of(example) for example in learnt}
        if shared:
            (task, *_) = stage.names("task", "task")
            yield Finding(
                "problem",
                f"{len(shared)} of the {len(asked)} problems of task {exam!r} are in task {task!r}, from which stage "
                f"{stage.entry.name!r} learns (the first: {min(shared)[:80]!r}): the evaluation would flatter the policy",
                "give the stage another split, or take the problems out with the task `decontaminated`",
            )


def _behind(patient: Patient) -> Iterator[Patient]:
    """The stages that the policy comes from, nearest first."""
    recipe = patient.clinic.recipe
    while patient.has("policy"):
        (name, *_) = patient.names("policy", "policy")
        if name not in recipe.stages:
            return
        patient = Patient(recipe.stages[name], patient.clinic)
        if patient.has("task"):
            yield patient


def _prompts(stage: Patient) -> list[Example]:
    """What a stage learns from, or nothing where that is pages of text, or still to be made."""
    try:
        examples = list(stage.examples(MOST_PROMPTS))
    except (NotYetError, PonderError):
        return []
    return [] if examples and is_page(examples[0]) else examples
