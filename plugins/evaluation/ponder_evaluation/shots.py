"""Few-shot prompts: solved examples of another task before each question.

DeepSeek-R1 is measured zero-shot, because examples make it worse (section 5, prompt sensitivity); this is how to see whether
they do.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ponder import Example
from ponder.errors import InputError
from ponder.randomness import derive_seed
from ponder.text import readable_prompt
from ponder.types import Message
from ponder_evaluation.samples import key_of


class Shots:
    """Puts `count` solved examples before every question: for the same question always the same ones."""

    def __init__(self, examples: Sequence[Example], count: int, task: str) -> None:
        """Examples count as solved when they have a response or an answer; `task` is their name in what goes wrong."""
        self._solved = [example for example in examples if _response(example)]
        self._count = count
        self._task = task

    def before(self, question: Example) -> Example:
        """The question with its examples in front: as earlier turns of a conversation, or as text before text.

        Raises InputError when fewer examples are solved, those that ask the same left out.
        """
        chosen = self._chosen(question)
        if isinstance(question.prompt, str):
            return replace(question, prompt="\n\n".join([*map(_as_text, chosen), question.prompt]))
        system, rest = _split_system(question.prompt)
        turns = [message for example in chosen for message in _as_turns(example)]
        return replace(question, prompt=[*system, *turns, *rest])

    def _chosen(self, question: Example) -> list[Example]:
        asked = readable_prompt(question.prompt)
        rng = random.Random(derive_seed("shots", key_of(question)))
        chosen: list[Example] = []
        for place in rng.sample(range(len(self._solved)), len(self._solved)):
            if len(chosen) == self._count:
                break
            if readable_prompt(self._solved[place].prompt) != asked:
                chosen.append(self._solved[place])
        if len(chosen) < self._count:
            raise InputError(
                f"shots: {self._count} solved examples are to stand before each question, but task {self._task!r} has "
                f"{len(chosen)} with a response or an answer that are not the question itself"
            )
        return chosen


def _response(example: Example) -> str | None:
    given = example.metadata.get("response")
    return given if isinstance(given, str) and given else example.answer


def _as_text(example: Example) -> str:
    return f"{readable_prompt(example.prompt)} {_response(example)}"


def _as_turns(example: Example) -> Iterator[Message]:
    if isinstance(example.prompt, str):
        yield {"role": "user", "content": example.prompt}
    else:
        yield from _split_system(example.prompt)[1]
    yield {"role": "assistant", "content": _response(example) or ""}


def _split_system(messages: Sequence[Message]) -> tuple[list[Message], list[Message]]:
    system = [message for message in messages if message["role"] == "system"]
    return system, [message for message in messages if message["role"] != "system"]
