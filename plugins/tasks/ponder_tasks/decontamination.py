"""A task without what an evaluation asks."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from ponder import Example, Task
from ponder.errors import InputError
from ponder_tasks.data_tools import DecontaminatedConfig
from ponder_tasks.tokens import column_text, tokens
from ponder_tasks.watched import Watched
from ponder_tasks.wording import Row

SAMPLE: Final = 5000
"""Examples, at least where there are so many, in which wording that most of them have is looked for."""

_logger = logging.getLogger("ponder")


class Decontaminated:
    """The task; `removed` counts what its last reading left out, by the words that were the same."""

    def __init__(self, config: DecontaminatedConfig, task: Callable[[str], Task]) -> None:
        self._config = config
        self._task = task
        self.removed: Counter[str] = Counter()

    def examples(self) -> Iterator[Example]:
        """The examples that have nothing in common with the evaluation, in the task's order.

        Raises:
            InputError: none is left, or an evaluation has no problems.
        """
        examples = list(self._task(self._config.task).examples())
        watched = self._watched(_sample(examples))
        shared = [_shared(watched, example) for example in examples]
        self.removed = Counter(" ".join(row) for row in shared if row)
        self._tell(len(examples))
        return (example for example, row in zip(examples, shared, strict=True) if row is None)

    def _watched(self, familiar: Sequence[Row]) -> Watched:
        config = self._config
        watched = Watched(config.ngram)
        for name in config.against:
            problems = [tuple(tokens(_question(example))) for example in self._task(name).examples()]
            if not problems:
                raise InputError(f"task {name!r} in `against` has no problems to compare with; take it out, or mend it")
            watched.add_task(problems, familiar, ignore_common=config.ignore_common)
        return watched

    def _tell(self, total: int) -> None:
        if not self.removed:
            return
        config, count = self._config, self.removed.total()
        (words, times), *_ = self.removed.most_common(1)
        against = ", ".join(config.against)
        shared = f"{count:,} of {total:,} examples of task {config.task!r} share text with {against}, {times:,} of them {words!r}"
        if count == total:
            raise InputError(f"all {shared}: nothing is left. {self._remedy()}")
        _logger.warning("%s; they are left out", shared)

    def _remedy(self) -> str:
        if self._config.ignore_common:
            return "Give other examples, such as another split, or raise ngram"
        return (
            "If these words are in every question, set ignore_common; else give other examples, such as another split"
        )


def _sample(examples: Sequence[Example]) -> list[Row]:
    """What some examples evenly spread over all of them ask, by which wording is known."""
    step = max(1, len(examples) // SAMPLE)
    return [tuple(tokens(_question(example))) for example in examples[::step]]


def _shared(watched: Watched, example: Example) -> Row | None:
    """What an example has in common with the evaluation: in its prompt, or at full length in its response."""
    prompt = tuple(tokens(column_text(example, "prompt") or ""))
    response = tuple(tokens(column_text(example, "response") or ""))
    return watched.found(prompt, whole=True) or watched.found(response, whole=False)


def _question(example: Example) -> str:
    if isinstance(example.prompt, str):
        return example.prompt
    return "\n".join(message["content"] for message in example.prompt if message["role"] == "user")
