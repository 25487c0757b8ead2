"""Which problems a step asks about: endless reshuffled epochs over a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ponder.errors import InputError
from ponder.hf import encode_prompt
from ponder.interfaces import Policy, Task
from ponder.randomness import permutation
from ponder.scopes import TASK_KEY
from ponder.suggestions import did_you_mean
from ponder.types import Example
from ponder_grpo.config import GrpoConfig

MOST_ENCODED: Final = 100_000
"""Below so many, the prompts of all examples are encoded before the first step, which takes less than a minute."""


class Problems:
    """A task's examples in an order that depends on the seed and the position alone."""

    def __init__(self, examples: Sequence[Example], seed: int) -> None:
        self._examples = examples
        self._seed = seed
        self._epoch = -1
        self._order: list[int] = []

    def take(self, position: int, count: int) -> list[Example]:
        """The `count` examples from a position on, counted from 0."""
        return [self._at(position + offset) for offset in range(count)]

    def probes(self, count: int) -> list[Example]:
        """The examples that are asked again and again."""
        order = permutation(len(self._examples), self._seed, "probes")
        return [self._examples[index] for index in order[:count]]

    def _at(self, position: int) -> Example:
        epoch, offset = divmod(position, len(self._examples))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, permutation(len(self._examples), self._seed, "prompts", "epoch", epoch)
        return self._examples[self._order[offset]]


def examples_at(examples: Sequence[Example], first_steps: Mapping[str, int], step: int) -> list[Example]:
    """The examples that may be asked at a step: all but those of a mixture's parts that begin later."""
    return [example for example in examples if first_steps.get(str(example.metadata.get(TASK_KEY)), 0) <= step]


def check_parts(examples: Sequence[Example], config: GrpoConfig) -> None:
    """Raise InputError when `task_from` names a part that is not there, or leaves too little to ask at first."""
    have = {str(example.metadata[TASK_KEY]) for example in examples if TASK_KEY in example.metadata}
    for name in config.task_from:
        if name not in have:
            raise InputError(
                f"task_from names {name!r}, but no example of task {config.task!r} is from such a part of a mixture; "
                f"{did_you_mean(name, have)}"
            )
    at_first = len(examples_at(examples, config.task_from, 0))
    if at_first < config.prompts_per_step:
        raise InputError(
            f"task_from leaves {at_first} examples of task {config.task!r} for the first steps, but a step takes "
            f"{config.prompts_per_step} different ones: let a part begin at step 0, or lower prompts_per_step"
        )


def check_lengths(examples: Sequence[Example], policy: Policy, tokenizer: Any, name: str) -> None:
    """Raise InputError when prompts leave no room in the policy's context; a task of very many examples is not looked through.

    `tokenizer` is the policy's, with the chat template that it is trained with.
    """
    context = getattr(policy.model.config, "max_position_embeddings", None)
    if not context or len(examples) >= MOST_ENCODED:
        return
    lengths = [len(encode_prompt(tokenizer, example.prompt)) for example in examples]
    long = [index for index, length in enumerate(lengths) if length >= context]
    if long:
        raise InputError(
            f"task {name!r}: {len(long):,} of {len(examples):,} examples have a prompt that fills the model's context of "
            f"{context:,} tokens, so nothing can follow it; the first is example {long[0]}, with {lengths[long[0]]:,} tokens: "
            "shorten or leave out such examples, or use a policy with a longer context"
        )


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
