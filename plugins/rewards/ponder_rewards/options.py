"""The options of the rewards for form: tags, lengths, repetition, steps, schemas and wishes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

from ponder import RewardConfig
from ponder.text import TAGS

LengthUnit: TypeAlias = Literal["tokens", "words", "characters"]


def default_tags() -> list[str]:
    """DeepSeek-R1's four tags."""
    return list(TAGS)


def check_tags(tags: list[str]) -> None:
    """Raise ValueError unless these are four different tags."""
    if len(tags) != 4 or len(set(tags)) != 4 or not all(tag.strip() == tag and tag for tag in tags):
        raise ValueError(
            f"tags must be four different texts without blanks around them, such as {default_tags()}, not {tags}"
        )


def check_finite(owner: object, *names: str) -> None:
    """Raise ValueError unless each of these options is a finite number."""
    for name in names:
        if not math.isfinite(getattr(owner, name)):
            raise ValueError(f"{name} must be a finite number, not {getattr(owner, name)}")


def check_positive(owner: object, *names: str) -> None:
    """Raise ValueError unless each of these options is at least 1."""
    for name in names:
        if getattr(owner, name) < 1:
            raise ValueError(f"{name} must be at least 1, not {getattr(owner, name)}")


@dataclass(frozen=True, kw_only=True)
class TagCountConfig(RewardConfig):
    """A quarter for each of the four tags that stands once, in its place, and around something: a denser `format`."""

    tags: list[str] = field(default_factory=default_tags)
    """What opens and closes the reasoning, and what opens and closes the answer."""
    prefilled: bool = False
    """The prompt's end already holds the first tag. Where that shows (the prompt ends with it) this need not be said."""

    def __post_init__(self) -> None:
        check_tags(self.tags)


@dataclass(frozen=True, kw_only=True)
class LengthConfig(RewardConfig):
    """From 0.5 for the shortest to -0.5 for the longest completion of a group; a wrong answer gets at most 0."""

    needs_answer: ClassVar[bool] = True

    unit: LengthUnit = "tokens"
    """What length is counted in; a group whose token ids are not known is counted in characters."""


@dataclass(frozen=True, kw_only=True)
class CosineLengthConfig(RewardConfig):
    """Short for right answers, long for wrong ones: a half cosine over the length between two scores each."""

    needs_answer: ClassVar[bool] = True

    max_length: int = 1024
    """Length at which a completion gets `exceeded`, right or wrong; usually the sampler's `max_new_tokens`."""
    unit: LengthUnit = "tokens"
    """What length is counted in."""
    correct_short: float = 1.0
    """Score of a right answer of length 0."""
    correct_long: float = 0.5
    """Score of a right answer just below `max_length`."""
    wrong_short: float = -1.0
    """Score of a wrong answer of length 0."""
    wrong_long: float = -0.5
    """Score of a wrong answer just below `max_length`."""
    exceeded: float = -1.0
    """Score of a completion that reaches `max_length`."""

    def __post_init__(self) -> None:
        check_positive(self, "max_length")
        check_finite(self, "correct_short", "correct_long", "wrong_short", "wrong_long", "exceeded")
        if min(self.correct_short, self.correct_long) < max(self.wrong_short, self.wrong_long):
            raise ValueError(
                "correct_short and correct_long must not be below wrong_short and wrong_long: a wrong answer would pay"
            )


@dataclass(frozen=True, kw_only=True)
class SoftOverlongConfig(RewardConfig):
    """0 up to a length, then falling to -1 at the longest one allowed; -1 beyond. Defaults are DAPO's."""

    max_length: int = 20_480
    """Longest completion in tokens (L_max)."""
    buffer: int = 4096
    """The last so many tokens before it, over which the score falls from 0 to -1 (L_cache)."""

    def __post_init__(self) -> None:
        check_positive(self, "max_length")
        if not 0 <= self.buffer <= self.max_length:
            raise ValueError(f"buffer must be between 0 and max_length ({self.max_length}), not {self.buffer}")


@dataclass(frozen=True, kw_only=True)
class RepetitionConfig(RewardConfig):
    """Minus the share of n-grams that were there before: 0 for none, towards -1 for nothing else."""

    ngram: int = 3
    """How many words or tokens are compared at a time."""
    unit: Literal["words", "tokens"] = "words"
    """Words are the same in any case; of Chinese and Japanese each character is one."""

    def __post_init__(self) -> None:
        check_positive(self, "ngram")


@dataclass(frozen=True, kw_only=True)
class ReasoningStepsConfig(RewardConfig):
    """How many of the wanted number of steps the reasoning marks: numbered, in points, or with words such as "next"."""

    steps: int = 3
    """So many different steps get the full score."""
    shortest: int = 2
    """Words that a step must have, not counting its mark; of Chinese and Japanese each character is one."""

    def __post_init__(self) -> None:
        check_positive(self, "steps", "shortest")


@dataclass(frozen=True, kw_only=True)
class JsonSchemaConfig(RewardConfig):
    """1 when the answer is JSON that a schema allows, else 0."""

    schema: dict[str, Any] = field(default_factory=dict)
    """The JSON schema; empty takes that of `file`, and without a file that of each example."""
    file: Path | None = None
    """A JSON file with the schema, relative to the recipe."""
    column: str = "schema"
    """Where neither is given, the key of the example's metadata that holds the schema, as an object or as text."""

    def __post_init__(self) -> None:
        if self.schema and self.file:
            raise ValueError("file and schema are both given: one schema is enough")


@dataclass(frozen=True, kw_only=True)
class InstructionConfig(RewardConfig):
    """How many of an example's checkable wishes the response grants."""

    score: Literal["share", "all"] = "share"
    """share: the share of the wishes that are granted; all: 1 when every one is, else 0."""
    of: Literal["summary", "response"] = "summary"
    """What is read: what follows the reasoning, or all of the response."""
