"""How many of what was drawn each step left: the table that a stage writes, shows, and gives as its reason to fail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Unit: TypeAlias = Literal["prompts", "completions", "rows"]


@dataclass(frozen=True, slots=True)
class Step:
    """What one step kept and removed of what reached it."""

    step: str
    kept: int
    removed: int
    unit: Unit


@dataclass(slots=True)
class Funnel:
    """Counts of completions that go through `tests`, one after the other."""

    tests: Sequence[str]
    prompts: int = 0
    prompts_kept: int = 0
    """Prompts with at least one row."""
    sampled: int = 0
    kept: int = 0
    appended: int = 0
    """Rows of further tasks."""
    removed: dict[str, int] = field(init=False)
    """By test."""

    def __post_init__(self) -> None:
        self.removed = dict.fromkeys(self.tests, 0)

    @property
    def rows(self) -> int:
        """All rows of the data."""
        return self.kept + self.appended

    def steps(self) -> Iterator[Step]:
        """The table in order; the last line says how many rows there are."""
        yield Step("prompts", self.prompts, 0, "prompts")
        yield Step("sampled", self.sampled, 0, "completions")
        yield from self.tested()
        yield Step("prompts_kept", self.prompts_kept, self.prompts - self.prompts_kept, "prompts")
        yield Step("kept", self.kept, 0, "rows")
        if self.appended:
            yield Step("appended", self.appended, 0, "rows")
            yield Step("rows", self.rows, 0, "rows")

    def tested(self) -> Iterator[Step]:
        """The part of the table that is about the tests."""
        left = self.sampled
        for test in self.tests:
            left -= self.removed[test]
            yield Step(test, left, self.removed[test], "completions")

    def lines(self) -> list[str]:
        """The table in aligned columns."""
        steps = list(self.steps())
        width = max(len(step.step) for step in steps)
        return [f"  {step.step:<{width}}  {step.kept:>9,} {step.unit:<11}{_removed(step)}".rstrip() for step in steps]


def _removed(step: Step) -> str:
    return f"  {step.removed:>9,} removed" if step.removed else ""
