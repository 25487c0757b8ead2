"""Which reward decides whether an answer is correct."""

from __future__ import annotations

from collections.abc import Sequence

from ponder import Example, Rubric
from ponder.errors import InputError
from ponder.rubric import NamedReward
from ponder.scopes import TASK_KEY


def judge_of(rubric: Rubric, example: Example) -> NamedReward:
    """The first reward that is for the part of a mixture which the example is from; the first of all when none is."""
    part = example.metadata.get(TASK_KEY)
    rewards = rubric.rewards
    return next((reward for reward in rewards if not reward.config.tasks or part in reward.config.tasks), rewards[0])


def refuse_unanswered(stage: str, task: str, examples: Sequence[Example], rubric: Rubric) -> None:
    """Raise InputError for a problem without the answer that its judge compares with."""
    for index, example in enumerate(examples):
        judge = judge_of(rubric, example)
        if example.answer is None and getattr(judge.config, "needs_answer", False):
            raise InputError(
                f"stage {stage!r}: example {index} of task {task!r} has no answer, and reward {judge.name!r} compares with "
                "one; give every example an answer, or put a reward first that needs none"
            )
