"""A task without its duplicates."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from datasketch import MinHash, MinHashLSH  # type: ignore[import-untyped]

from ponder import Example, Task
from ponder.errors import InputError
from ponder_tasks.data_tools import DeduplicatedConfig
from ponder_tasks.tokens import SIGNS, column_text, is_number, ngrams, tokens

PIECE = 3
"""Words of a piece."""
HASHES = 128
"""Of a text's sketch."""
CLOSEST = 0.9
"""The highest similarity for which an index is made: above it one would miss too many."""

_logger = logging.getLogger("ponder")


@dataclass(frozen=True, slots=True)
class Removed:
    """How many examples went."""

    exact: int
    near: int
    of: int


class Deduplicated:
    """The task; `removed` counts what its last reading left out."""

    def __init__(self, config: DeduplicatedConfig, task: Callable[[str], Task]) -> None:
        self._config = config
        self._task = task
        self.removed = Removed(0, 0, 0)

    def examples(self) -> Iterator[Example]:
        """The examples that are like none before them, in the task's order.

        Raises:
            InputError: an example has no such column.
        """
        config = self._config
        examples = list(self._task(config.task).examples())
        texts = [self._text(number, example) for number, example in enumerate(examples)]
        firsts = _firsts(texts)
        kept = firsts if config.near is None else _unlike(firsts, texts, config.near, config.seed)
        self.removed = Removed(len(examples) - len(firsts), len(firsts) - len(kept), len(examples))
        self._tell()
        return (examples[number] for number in kept)

    def _text(self, number: int, example: Example) -> str:
        text = column_text(example, self._config.column)
        if text is None:
            have = ["prompt", *(["answer"] if example.answer is not None else []), *example.metadata]
            raise InputError(
                f"example {number} of task {self._config.task!r} has no {self._config.column!r} to compare; name a column that "
                f"all have; this one has {', '.join(have)}"
            )
        return text

    def _tell(self) -> None:
        removed = self.removed
        if removed.exact or removed.near:
            _logger.warning(
                "task %r: %s exact and %s near duplicates of %s examples are left out",
                self._config.task,
                f"{removed.exact:,}",
                f"{removed.near:,}",
                f"{removed.of:,}",
            )


def _firsts(texts: list[str]) -> list[int]:
    """The numbers of the texts that no earlier one equals, spaces and case aside."""
    first: dict[str, int] = {}
    for number, text in enumerate(texts):
        first.setdefault(" ".join(text.split()).casefold(), number)
    return list(first.values())


def _unlike(numbers: list[int], texts: list[str], threshold: float, seed: int) -> list[int]:
    """The numbers of the texts that are nearly like no earlier one of them."""
    # The index misses few pairs and finds some too many: what it finds is compared in full.
    index = MinHashLSH(threshold=min(threshold, CLOSEST), num_perm=HASHES, weights=(0.1, 0.9))
    pieces = [_pieces(texts[number]) for number in numbers]
    sketches = MinHash.generator(pieces, num_perm=HASHES, seed=seed % 2**32, scheme="affine32")
    kept: dict[int, frozenset[bytes]] = {}
    for number, mine, sketch in zip(numbers, pieces, sketches, strict=True):
        if not any(_similarity(mine, kept[other]) >= threshold for other in index.query(sketch)):
            index.insert(number, sketch)
            kept[number] = mine
    return list(kept)


def _pieces(text: str) -> frozenset[bytes]:
    """Digests of the pieces, each together with all numbers of the text and their signs: other numbers, no piece in common."""
    said = tokens(text) or [text or " "]
    figures = _digest([word for pair in pairwise(["", *said]) if is_number(pair[1]) for word in _signed(*pair)])
    rows = list(ngrams(said, PIECE)) or [tuple(said)]
    return frozenset(_digest(row, figures) for row in rows)


def _signed(before: str, number: str) -> tuple[str, ...]:
    return (before, number) if before in SIGNS else (number,)


def _digest(words: Sequence[str], key: bytes = b"") -> bytes:
    return hashlib.blake2b("\x1f".join(words).encode("utf-8", "surrogatepass"), digest_size=12, key=key).digest()


def _similarity(one: frozenset[bytes], other: frozenset[bytes]) -> float:
    return len(one & other) / len(one | other)
