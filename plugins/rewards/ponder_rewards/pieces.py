"""Texts cut into words where no language is asked for: runs of letters and digits, and single characters of Chinese and Japanese."""

from __future__ import annotations

from itertools import islice
from typing import Final

import regex

LONGEST: Final = 300_000
"""Characters that are read of a text: more than the 65,536 tokens of DeepSeek-R1's longest outputs have."""
MOST: Final = 1 << 16
"""Words that are read of a text."""

_WORD = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}]|[[\p{L}\p{M}\p{N}_]--[\p{Han}\p{Hiragana}\p{Katakana}]]++", regex.V1
)
_PIECE = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}]|[[\p{L}\p{M}\p{N}_]--[\p{Han}\p{Hiragana}\p{Katakana}]]++|\S", regex.V1
)


def words_of(text: str) -> list[str]:
    """The first `MOST` words of the first `LONGEST` characters of the text."""
    return [match.group() for match in islice(_WORD.finditer(text, endpos=LONGEST), MOST)]


def pieces_of(text: str) -> list[str]:
    """The same with every other visible character a piece of its own, so that formulas count."""
    return [match.group() for match in islice(_PIECE.finditer(text, endpos=LONGEST), MOST)]
