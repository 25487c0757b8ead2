"""Samples of a run for people to read."""

from __future__ import annotations

from collections.abc import Sequence

from ponder.rollouts import jsonable
from ponder.text import readable_prompt
from ponder_grpo.rollouts import Drawn

ROWS_PER_STEP = 4
"""Completions of a step that are kept, one from each of as many groups."""


def all_rows(drawn: Drawn) -> list[dict[str, object]]:
    """Every completion of the step."""
    return rows_of(drawn, range(len(drawn.rollouts)))


def sample_rows(drawn: Drawn, group_size: int) -> list[dict[str, object]]:
    """The first completion of each of some groups that lie evenly in the step."""
    groups = len(drawn.rollouts) // group_size
    stride = max(1, groups // ROWS_PER_STEP)
    return rows_of(drawn, range(0, groups * group_size, stride * group_size))[:ROWS_PER_STEP]


def rows_of(drawn: Drawn, indices: Sequence[int]) -> list[dict[str, object]]:
    """Prompt, answer, completion and scores of these rollouts."""
    return [_row(drawn, index) for index in indices]


def _row(drawn: Drawn, index: int) -> dict[str, object]:
    rollout, score = drawn.rollouts[index], drawn.scores[index]
    return {
        "group": rollout.group,
        "prompt": readable_prompt(rollout.example.prompt),
        "answer": rollout.example.answer,
        "metadata": jsonable(rollout.example.metadata),
        "completion": rollout.completion.text,
        "tokens": len(rollout.completion.token_ids),
        "finish_reason": rollout.completion.finish_reason,
        "score": score.total,
        **{f"rewards/{name}": value for name, value in score.parts.items()},
    }
