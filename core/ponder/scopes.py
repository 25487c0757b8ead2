"""Rewards that concern only some tasks of a mixture: elsewhere they abstain without being asked."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from ponder.interfaces import BatchReward, Reward
from ponder.types import Completion, Example, Rollout

TASK_KEY: Final = "task"
"""Where a mixture writes, in an example's metadata, which of its parts the example is from."""


@dataclass(frozen=True, slots=True)
class ScopedReward:
    """A reward that is asked about the examples of these tasks alone."""

    reward: Reward
    tasks: Collection[str]

    def __call__(self, example: Example, completion: Completion) -> float | None:
        """The reward's score, or None outside its tasks."""
        return self.reward(example, completion) if example.metadata.get(TASK_KEY) in self.tasks else None

    def warm_up(self) -> None:
        """See `Reward`."""
        warm_up = getattr(self.reward, "warm_up", None)
        if warm_up:
            warm_up()


@dataclass(frozen=True, slots=True)
class ScopedBatchReward:
    """The same for a reward that scores many at once."""

    reward: BatchReward
    tasks: Collection[str]

    def score(self, rollouts: Sequence[Rollout]) -> list[float | None]:
        """The reward's scores, with None outside its tasks."""
        inside = [rollout.example.metadata.get(TASK_KEY) in self.tasks for rollout in rollouts]
        asked = [rollout for rollout, is_inside in zip(rollouts, inside, strict=True) if is_inside]
        given = list(self.reward.score(asked)) if asked else []
        if len(given) != len(asked):
            return given
        scores = iter(given)
        return [next(scores) if is_inside else None for is_inside in inside]


def scoped_reward(reward: Reward, tasks: Collection[str]) -> Reward:
    """The reward, asked about the examples of these tasks alone; of all when none is named."""
    return ScopedReward(reward, tuple(tasks)) if tasks else reward


def scoped_batch_reward(reward: BatchReward, tasks: Collection[str]) -> BatchReward:
    """The same for a reward that scores many at once."""
    return ScopedBatchReward(reward, tuple(tasks)) if tasks else reward
