"""Cutting texts into what duplicates and contamination are counted in: words, numbers, signs, characters of scripts without spaces."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, Final

from ponder import Example
from ponder.text import readable_prompt

_HAN: Final = "㐀-䶿一-鿿\uf900-\ufaff\U00020000-\U000323af"
_KANA: Final = "\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9d"
_THAI_LAO_BURMESE_KHMER: Final = "\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff"
_UNSPACED: Final = _HAN + _KANA + _THAI_LAO_BURMESE_KHMER
"""Scripts whose words stand without spaces: a sentence would be a single word, and no two the same."""


def _of_category(*wanted: str) -> str:
    # Only the basic plane: a class with many characters behind it is searched one by one.
    return "".join(chr(code) for code in range(0x80, 0x10000) if unicodedata.category(chr(code)) in wanted)


_MARKS: Final = _of_category("Mn", "Mc", "Me") + "\u200c\u200d"
"""Vowel signs and accents, which are part of the letter before them; joiners likewise."""
_SYMBOLS: Final = _of_category("So", "Sm") + "\U0001f000-\U0001fbff\U000e0100-\U000e01ef"
"""Emoji, boxes, blocks and mathematical signs, what grids and pictures are made of, and selectors of glyphs, in which text can be
hidden."""
_TOKEN: Final = re.compile(
    rf"\d++(?:[.,]\d++)*+|[{_UNSPACED}][{_MARKS}]*+|[^\W\d_{_UNSPACED}](?:[^\W\d_{_UNSPACED}]|[{_MARKS}])*+"
    rf"|[-+*/^=<>×÷−√%]|([#@&|~\\{_SYMBOLS}])\1*+|(?<!\w)_++(?!\w)"
)

SIGNS: Final = frozenset("-+*/^×÷−")
"""Signs that join two numbers."""


def tokens(text: str) -> list[str]:
    """Words in lower case, numbers, signs of arithmetic, rows of the same symbol such as an emoji, single characters of Chinese, Japanese and other scripts without spaces; other punctuation is left out.

    Time is linear in the text's length.
    """
    return [token[0].casefold() for token in _TOKEN.finditer(text)]


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
