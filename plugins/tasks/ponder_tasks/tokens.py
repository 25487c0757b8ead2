"""Cutting texts into what duplicates and contamination are counted in: words, numbers, signs, Chinese characters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from ponder import Example
from ponder.text import readable_prompt

_HAN = "㐀-䶿一-鿿\uf900-\ufaff\U00020000-\U000323af"
_TOKEN: Final = re.compile(rf"\d++(?:[.,]\d++)*+|[{_HAN}]|[^\W\d_{_HAN}]++|[-+*/^=<>×÷−√%]")

SIGNS: Final = frozenset("-+*/^×÷−")
"""Signs that join two numbers."""


def tokens(text: str) -> list[str]:
    """Words in lower case, numbers, signs of arithmetic, single Chinese characters; other punctuation is left out.

    Time is linear in the text's length.
    """
    return [token.casefold() for token in _TOKEN.findall(text)]


def is_number(token: str) -> bool:
    """Whether a token is a number."""
    return token[0].isdecimal()


def ngrams(said: Sequence[str], length: int) -> Iterator[tuple[str, ...]]:
    """All n-grams, in order; none when the row is shorter."""
    return zip(*(said[start:] for start in range(length)), strict=False)


def column_text(example: Example, column: str) -> str | None:
    """What an example says in `prompt`, `answer` or a key of its metadata, as text; None when it says nothing there."""
    if column == "prompt":
        return readable_prompt(example.prompt)
    value: Any = example.answer if column == "answer" else example.metadata.get(column)
    return value if value is None or isinstance(value, str) else str(value)
