"""What `ponder doctor` looks at in a stage `evaluate`: whether its problems are learnt from, and whether any answer can be correct."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ponder.doctor import Finding, NotYetError, Patient
from ponder.doctor.rewards import marking_of
from ponder.errors import PonderError
from ponder_evaluation.contamination import MOST_PROMPTS, is_page, question_of
from ponder_evaluation.judges import judge_of

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


def examine_correctness(patient: Patient) -> Iterator[Finding]:
    """Compare what right answers, written by hand, get from the rewards that decide with the score that a correct one needs."""
    if patient.missing_rewards():
        raise NotYetError("the reward that decides what is correct may need what a stage has still to make")
    marked, rubric, wanted = marking_of(patient).marked, patient.rubric(), patient.entry.config.correct_at
    judges = [judge_of(rubric, mark.example) for mark in marked]
    given = [mark.best(judge.name) for mark, judge in zip(marked, judges, strict=True)]
    highest = max((score for score in given if score is not None), default=None)
    # What a judge that does not compare with the answer would give to a better response is not known.
    compares = all(getattr(judge.config, "needs_answer", False) for judge in judges)
    if highest is not None and highest < wanted:
        yield Finding(
            "problem" if compares else "warning",
            f"correct_at is {wanted:g}, and the most that a right answer gets from {judges[0].name!r} is {highest:g}: nothing would "
            "ever be counted as correct",
            f"set correct_at to {highest:g} or less, or let a reward with higher scores stand first",
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
