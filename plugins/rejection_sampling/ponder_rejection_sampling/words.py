"""Cutting a text into what repetition counts (words, whole sums, Chinese characters, symbols) and what paragraphs are long in."""

from __future__ import annotations

import re
from typing import Final

LONGEST_SUM: Final = 16
"""Terms of a sum that make one unit; a longer one is several units, so that a sum which never ends repeats itself."""

_HAN = "㐀-䶿一-鿿\uf900-\ufaff\U00020000-\U000323af"
_NUMBER = r"\d++(?:[.,]\d++)*+"
_OPERATOR = r"[-+*/^×÷−]"
_SUM = rf"{_OPERATOR}?{_NUMBER}(?:[^\S\n]*+{_OPERATOR}[^\S\n]*+-?{_NUMBER}){{0,{LONGEST_SUM - 1}}}+"
_WORD = rf"[{_HAN}]|[^\W\d_{_HAN}]++"
_SYMBOLS = r"(?P<symbol>[^\w\s]|_)(?P=symbol)*+"

_UNIT: Final = re.compile(rf"{_SUM}|{_WORD}|{_SYMBOLS}")
_COUNTED: Final = re.compile(rf"{_NUMBER}|{_WORD}")


def units(text: str) -> list[str]:
    """The units of a text in order, in lower case and without inner spaces.

    A sum is one unit, so that no part of `1 + 2 + 3 = 3 + 3` is said twice; so is a run of one symbol. Time is linear in the
    text's length.
    """
    return ["".join(found.group().split()).casefold() for found in _UNIT.finditer(text)]


def count_words(text: str) -> int:
    """How many words, numbers and Chinese characters the text has."""
    return sum(1 for _ in _COUNTED.finditer(text))
