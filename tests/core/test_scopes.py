"""Rewards that concern only some parts of a mixture."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ponder import Completion, Example, RewardConfig, Rollout
from ponder.errors import InputError, StageError
from ponder.rubric import Limits, NamedReward, Rubric

LIMITS = Limits(workers=1, cpu_seconds=0.5, wall_seconds=2.0)
SUMS, CHAT = (Example(name, "4", {"task": name}) for name in ("sums", "chat"))
FREE = Example("free", "4")


def full(example: Example, completion: Completion) -> float:
    return 1.0


def explodes_outside(example: Example, completion: Completion) -> float:
    if example.metadata.get("task") != "sums":
        raise ValueError("not mine")
    return 1.0


class Counted:
    def __init__(self, too_few: int = 0) -> None:
        self.asked: list[str] = []
        self.too_few = too_few

    def score(self, rollouts: Sequence[Rollout]) -> list[float]:
        self.asked += [str(rollout.example.prompt) for rollout in rollouts]
        return [0.5] * (len(rollouts) - self.too_few)


def rollouts(*examples: Example) -> list[Rollout]:
    return [Rollout(example, Completion("x"), 0) for example in examples]


def scoped(name: str, reward: object, *tasks: str) -> NamedReward:
    return NamedReward(name, 1.0, reward, RewardConfig(tasks=list(tasks)))  # type: ignore[arg-type]


def test_a_reward_abstains_outside_its_tasks() -> None:
    rewards = [scoped("full", full), scoped("sums", full, "sums"), scoped("chat", full, "chat")]
    with Rubric(rewards, limits=LIMITS) as rubric:
        scores = rubric.score(rollouts(SUMS, CHAT, FREE))
    assert [score.total for score in scores] == [2.0, 2.0, 1.0]
    assert [score.statuses["sums"] for score in scores] == ["ok", "abstained", "abstained"]


def test_a_reward_is_not_asked_outside_its_tasks() -> None:
    with Rubric([scoped("sums", explodes_outside, "sums")], limits=LIMITS) as rubric:
        scores = rubric.score(rollouts(CHAT, SUMS))
    assert [score.statuses["sums"] for score in scores] == ["abstained", "ok"]


def test_a_batch_reward_is_given_the_examples_of_its_tasks_alone() -> None:
    judge = Counted()
    with Rubric([scoped("judge", judge, "chat")], limits=LIMITS) as rubric:
        scores = rubric.score(rollouts(SUMS, CHAT, SUMS, CHAT))
    assert judge.asked == ["chat", "chat"]
    assert [score.parts["judge"] for score in scores] == [None, 0.5, None, 0.5]


def test_a_batch_reward_that_returns_too_few_scores_is_told_so_within_its_tasks() -> None:
    with (
        Rubric([scoped("judge", Counted(too_few=1), "chat")], limits=LIMITS) as rubric,
        pytest.raises(StageError, match="returned 1 scores for 3 rollouts"),
    ):
        rubric.score(rollouts(SUMS, CHAT, CHAT))


def test_a_scope_that_no_example_falls_into_is_refused() -> None:
    with Rubric([scoped("sums", full, "sum")], limits=LIMITS) as rubric, pytest.raises(InputError) as caught:
        rubric.check([SUMS, CHAT], "all")
    assert str(caught.value) == (
        "reward 'sums' is for the part 'sum' of a mixture, but no example of task 'all' is from such a part; "
        "parts: chat, sums"
    )
