"""Things that change at given steps: rewards that join, problems that join, length limits that rise."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Phases(Generic[T]):
    """Values that take each other's place; `since` holds the first step of each, 0 for the first."""

    since: tuple[int, ...]
    values: tuple[T, ...]

    def at(self, step: int) -> T:
        """The value in force at a step."""
        return self.values[bisect_right(self.since, step) - 1]


def phases(changes: Iterable[int], steps: int, make: Callable[[int], T]) -> Phases[T]:
    """A phase from step 0 and from each of the `changes` that lies before `steps`; `make` gets its first step."""
    since = sorted({0, *(step for step in changes if step < steps)})
    return Phases(tuple(since), tuple(map(make, since)))
