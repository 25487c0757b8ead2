"""Options of the tasks that are made from other tasks: `mixture`, `deduplicated`, `decontaminated`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from ponder import ref, refs


@dataclass(frozen=True, kw_only=True)
class MixtureConfig:
    """Tasks, or the data of stages, mixed in a ratio; each example says in its metadata as `task` which part it is from."""

    example: ClassVar[Mapping[str, object]] = {"parts": ["mini_instructions", "mini_preferences"], "ratio": [2, 1]}

    parts: list[str] = refs("task")
    """What is mixed."""
    ratio: list[int] = field(default_factory=list)
    """How many examples of each part come together, such as [3, 1]; empty takes the same of each."""
    size: int | None = None
    """How many examples; null takes as many as fit the ratio until a part is used up (with repeat: until all are)."""
    seed: int = 0
    """Seed of the order in which a part's examples are taken."""
    repeat: bool = False
    """Take a part's examples again, in another order, when there are too few; off, too few are an error."""

    def __post_init__(self) -> None:
        if self.ratio and len(self.ratio) != len(self.parts):
            raise ValueError(f"ratio has {len(self.ratio)} numbers for {len(self.parts)} parts; give one for each")
        if any(share < 1 for share in self.ratio):
            raise ValueError(
                f"the numbers of ratio must be at least 1, not {min(self.ratio)}; leave out what is not wanted"
            )
        if self.size is not None and self.size < 1:
            raise ValueError(f"size must be at least 1, or null for what fits, not {self.size}")


@dataclass(frozen=True, kw_only=True)
class DeduplicatedConfig:
    """A task without its duplicates, exact and near ones; of several the first stays."""

    example: ClassVar[Mapping[str, object]] = {"task": {"type": "mini_web", "documents": 200}}

    task: str = ref("task")
    """The examples."""
    column: str = "prompt"
    """What is compared: prompt, answer, or a key of the metadata, such as response."""
    near: float | None = 0.8
    """Texts that have this share of their three-word pieces in common (Jaccard similarity) are duplicates, if all their numbers
    and signs are the same: another number is another problem. null removes only what is equal but for spaces and case."""
    seed: int = 0
    """Seed of the hashes by which near duplicates are found."""

    def __post_init__(self) -> None:
        if self.near is not None and not 0 < self.near <= 1:
            raise ValueError(f"near must be above 0 and at most 1, or null, not {self.near}")


@dataclass(frozen=True, kw_only=True)
class DecontaminatedConfig:
    """A task without the examples that share an n-gram with a problem of an evaluation (10-grams, as DeepSeek-R1 did)."""

    example: ClassVar[Mapping[str, object]] = {
        "task": {"type": "mini_web", "documents": 200},
        "against": [{"type": "reasoning_gym", "dataset": "chain_sum", "size": 16}],
    }

    measures: ClassVar[frozenset[str]] = frozenset({"against"})

    task: str = ref("task")
    """The examples. Their prompts are compared, and their responses where they have some."""
    against: list[str] = refs("task")
    """The tasks that are measured with."""
    ngram: int = 10
    """How many words, numbers, signs, symbols or Chinese characters in a row must be the same; more where they repeat each other, as
    in a grid. A problem shorter than that counts where a prompt holds it whole, and not as the part of a longer sum."""
    ignore_common: bool = True
    """Leave out the wording that problems of one task have in common: four words in a row that stand in a tenth of them, and n-grams
    with numbers that stand in as many (in three tenths where they are mostly numbers) or in half of the examples; and n-grams that
    five different examples, or one in a hundred, have without half of the rest of a problem: they are of a template, or a rule, and
    no copy."""

    def __post_init__(self) -> None:
        if self.ngram < 1:
            raise ValueError(f"ngram must be at least 1, not {self.ngram}")
