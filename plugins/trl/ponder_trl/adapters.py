"""Rewards across the border: ponder's for TRL's trainers, and TRL's reward functions as ponder's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ponder import BatchReward, Completion, Example, Reward, Rollout

TrlFunction = Callable[..., Sequence[float | None]]
"""Called with `prompts`, `completions`, `completion_ids` and the data set's columns, all by keyword and of one length."""


class TrlReward:
    """A function written for TRL's trainers as a BatchReward.

    It gets prompts and completions as TRL would hand them over (chat prompts with lists of one assistant message), the examples'
    metadata as columns, None where an example has none, and the reference answers as the column `answer`. Trainer state and
    TRL's logging functions are not given.
    """

    def __init__(self, function: TrlFunction) -> None:
        self._function = function

    def score(self, rollouts: Sequence[Rollout]) -> list[float | None]:
        """See `BatchReward`."""
        examples = [rollout.example for rollout in rollouts]
        names = dict.fromkeys(name for example in examples for name in example.metadata)
        columns: dict[str, list[Any]] = {name: [example.metadata.get(name) for example in examples] for name in names}
        return list(
            self._function(
                **{
                    **columns,
                    "answer": [example.answer for example in examples],
                    "prompts": [_as_trl(example.prompt) for example in examples],
                    "completions": [_completion(rollout) for rollout in rollouts],
                    "completion_ids": [list(rollout.completion.token_ids) for rollout in rollouts],
                }
            )
        )


def for_trl(reward: Reward | BatchReward, name: str, *, answer: str = "answer") -> TrlFunction:
    """A reward function for TRL's trainers, which show it under `name`; `answer` is the data set's column of reference answers.

    The other columns become the examples' metadata. Neighbours with one prompt are a group. Unlike in a Rubric, the reward runs in the
    trainer's process, without limits on its time or memory.
    """

    def function(
        prompts: Sequence[Any], completions: Sequence[Any], completion_ids: Sequence[Any] | None = None, **columns: Any
    ) -> list[float | None]:
        rollouts = _rollouts(prompts, completions, completion_ids or [()] * len(prompts), columns, answer)
        if isinstance(reward, Reward):
            return [reward(rollout.example, rollout.completion) for rollout in rollouts]
        return list(reward.score(rollouts))

    function.__name__ = name
    return function


def _rollouts(
    prompts: Sequence[Any],
    completions: Sequence[Any],
    completion_ids: Sequence[Sequence[int]],
    columns: dict[str, Any],
    answer: str,
) -> list[Rollout]:
    rows = {
        name: values for name, values in columns.items() if isinstance(values, list) and len(values) == len(prompts)
    }
    rollouts: list[Rollout] = []
    for place, prompt in enumerate(prompts):
        metadata = {name: values[place] for name, values in rows.items() if name != answer}
        reference = rows[answer][place] if answer in rows else None
        example = Example(prompt, None if reference is None else str(reference), metadata)
        completion = Completion(_text(completions[place]), tuple(completion_ids[place]))
        is_next = bool(rollouts) and rollouts[-1].example.prompt != prompt
        rollouts.append(Rollout(example, completion, (rollouts[-1].group if rollouts else 0) + is_next))
    return rollouts


def _text(completion: Any) -> str:
    return completion if isinstance(completion, str) else "".join(str(message["content"]) for message in completion)


def _as_trl(prompt: Any) -> Any:
    return prompt if isinstance(prompt, str) else [dict(message) for message in prompt]


def _completion(rollout: Rollout) -> Any:
    text = rollout.completion.text
    return text if isinstance(rollout.example.prompt, str) else [{"role": "assistant", "content": text}]
