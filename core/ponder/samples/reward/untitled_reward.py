"""The reward `untitled`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ponder import Completion, Component, Example, RewardConfig, hookimpl


@dataclass(frozen=True, kw_only=True)
class UntitledConfig(RewardConfig):
    """Full marks for short completions."""

    max_chars: int = 400
    """Completions up to this long score 1; longer ones less, in proportion."""

    def __post_init__(self) -> None:
        if self.max_chars < 1:
            raise ValueError("max_chars must be at least 1")


class Untitled:
    """`max_chars` divided by the length, and never more than 1; an empty completion says nothing, and None abstains."""

    def __init__(self, config: UntitledConfig) -> None:
        self._max_chars = config.max_chars

    def __call__(self, example: Example, completion: Completion) -> float | None:
        length = len(completion.text)
        return min(1.0, self._max_chars / length) if length else None


@hookimpl
def ponder_rewards() -> Iterator[Component[Untitled]]:
    """The reward of this plugin."""
    yield Component("untitled", UntitledConfig, Untitled)
