"""What a stage asks of its policy, as planning sees it.

The options of a stage may have a method `workload(recipe) -> Workload`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ponder.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The tokens of a stage; None where only its data or earlier stages can tell how many."""

    trained: int | None = 0
    """Tokens that are read, and learnt from."""
    read: int | None = 0
    """Tokens that are only read or sampled."""
    length: int | None = None
    """Tokens of a sequence; None is as many as the policy can read."""
    pass_tokens: int = 0
    """Tokens of one forward and backward pass; 0 when nothing is trained."""
    is_bound: bool = False
    """Whether these are the most there can be: what is sampled may end before its length limit."""

    @classmethod
    def sampling(cls, recipe: Recipe, sampler: str, completions: int | None) -> Workload:
        """At most what so many completions of the sampler's length limit come to; prompts are not counted."""
        longest = length_limit(recipe, sampler)
        if longest is None or completions is None:
            return cls(read=None)
        return cls(read=completions * longest, length=longest, is_bound=True)


def examples_of(recipe: Recipe, task: str) -> int | None:
    """How many examples a tasks entry has by its own options (`size` or `documents`); None when they do not say."""
    entry = recipe.tasks.get(task)
    counts = (getattr(entry.config, name, None) for name in ("size", "documents")) if entry else ()
    return next((count for count in counts if isinstance(count, int)), None)


def length_limit(recipe: Recipe, sampler: str) -> int | None:
    """The longest completion of a samplers entry, in tokens, if it has the option `max_new_tokens`."""
    limit: int | None = getattr(recipe.samplers[sampler].config, "max_new_tokens", None)
    return limit
