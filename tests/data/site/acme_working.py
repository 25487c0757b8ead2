"""A third party's plugin as it should be."""

from collections.abc import Iterator
from dataclasses import dataclass

from ponder import Completion, Component, Example, RewardConfig, hookimpl


@dataclass(frozen=True, kw_only=True)
class ShortConfig(RewardConfig):
    """Full marks for short answers."""

    max_chars: int = 40
    """Answers up to this long score 1."""


class Short:
    def __init__(self, config: ShortConfig) -> None:
        self._max_chars = config.max_chars

    def __call__(self, example: Example, completion: Completion) -> float:
        return float(len(completion.text) <= self._max_chars)


@hookimpl
def ponder_rewards() -> Iterator[Component[Short]]:
    yield Component("acme_short", ShortConfig, Short)
