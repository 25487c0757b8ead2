"""Which problems a step asks about: endless reshuffled epochs over a task."""

from __future__ import annotations

from collections.abc import Sequence

from ponder.errors import InputError
from ponder.interfaces import Task
from ponder.randomness import permutation
from ponder.types import Example


class Problems:
    """A task's examples in an order that depends on the seed and the position alone."""

    def __init__(self, examples: Sequence[Example], seed: int) -> None:
        self._examples = examples
        self._seed = seed
        self._epoch = -1
        self._order: list[int] = []

    def of_step(self, step: int, count: int) -> list[Example]:
        """The `count` examples of a step, counted from 0."""
        return [self._at(step * count + offset) for offset in range(count)]

    def probes(self, count: int) -> list[Example]:
        """The examples that are asked again and again."""
        order = permutation(len(self._examples), self._seed, "probes")
        return [self._examples[index] for index in order[:count]]

    def _at(self, position: int) -> Example:
        epoch, offset = divmod(position, len(self._examples))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, permutation(len(self._examples), self._seed, "prompts", "epoch", epoch)
        return self._examples[self._order[offset]]


def load_examples(task: Task, name: str, prompts_per_step: int) -> list[Example]:
    """All examples of a task, refused when they cannot fill a step or one of them asks nothing."""
    examples = list(task.examples())
    if len(examples) < prompts_per_step:
        have = "no examples" if not examples else f"only {len(examples)}"
        raise InputError(
            f"task {name!r} has {have}, but a step takes {prompts_per_step} different ones: "
            "give it more, or lower prompts_per_step"
        )
    empty = [index for index, example in enumerate(examples) if not example.prompt]
    if empty:
        shown = ", ".join(str(index) for index in empty[:5])
        raise InputError(
            f"task {name!r}: {len(empty)} of {len(examples)} examples have an empty prompt (index {shown})"
        )
    return examples
