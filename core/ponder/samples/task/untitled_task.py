"""The task `untitled`."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from ponder import Component, Example, Message, hookimpl


@dataclass(frozen=True, kw_only=True)
class UntitledConfig:
    """Sums of two numbers."""

    size: int = 1000
    """How many problems."""
    largest: int = 99
    """The largest number in a sum."""
    seed: int = 0
    """Seed of the problems' order."""

    def __post_init__(self) -> None:
        if not 1 <= self.size <= (self.largest + 1) ** 2:
            raise ValueError(f"size must lie between 1 and the number of different sums, {(self.largest + 1) ** 2}")


class Untitled:
    """Different sums, always the same ones in the same order for the same options."""

    def __init__(self, config: UntitledConfig) -> None:
        self._config = config

    def examples(self) -> Iterator[Example]:
        """The problems: a chat with one question, the answer as text, and how hard it is."""
        config = self._config
        numbers = config.largest + 1
        for place in random.Random(config.seed).sample(range(numbers**2), config.size):
            first, second = divmod(place, numbers)
            prompt: list[Message] = [{"role": "user", "content": f"What is {first} + {second}?"}]
            yield Example(prompt, str(first + second), {"difficulty": len(str(max(first, second)))})


@hookimpl
def ponder_tasks() -> Iterator[Component[Untitled]]:
    """The task of this plugin."""
    yield Component("untitled", UntitledConfig, Untitled)
