"""What makes a response unfit for training, as pure functions of its text; each takes any text, in time linear in its length."""

from __future__ import annotations

import re
from operator import eq
from typing import Final

from ponder.text import Language, is_well_formed, language_share
from ponder_rejection_sampling.words import count_words, units

LOOP_TIMES: Final = 4
"""A passage that is said so often in a row is a loop,"""
LOOP_UNITS: Final = 12
"""if all of it together has so many words,"""
LONGEST_LOOP: Final = 24
"""and one round of it no more than this. Longer rounds show in the n-grams."""

_BLANK_LINE: Final = re.compile(r"\n[^\S\n]*+\n")
_CODE_FENCE: Final = re.compile(r"```|^ {0,3}~~~", re.MULTILINE)


def has_format(text: str) -> bool:
    """Whether the text is reasoning and an answer, in R1-Zero's or in R1's style, and nothing else."""
    return is_well_formed(text, "r1_zero") or is_well_formed(text, "r1")


def is_mixed(text: str, language: Language, tolerance: float) -> bool:
    """Whether more than `tolerance` (a share) of the text's words are in another language; never when it has no words."""
    share = language_share(text, language)
    return share is not None and share < 1 - tolerance


def has_long_paragraph(text: str, words: int) -> bool:
    """Whether something between two blank lines has more than so many words, numbers and Chinese characters."""
    return any(count_words(paragraph) > words for paragraph in _BLANK_LINE.split(text))


def has_code_block(text: str) -> bool:
    """Whether there is a code fence, closed or not."""
    return _CODE_FENCE.search(text) is not None


def is_repetitive(text: str, ngram: int, share: float) -> bool:
    """Whether more than a share of the text's n-grams have occurred before in it, or a passage is said over and over."""
    said = units(text)
    return repeated_share(said, ngram) > share or has_loop(said)


def repeated_share(said: list[str], ngram: int) -> float:
    """The share of n-grams, in [0, 1], that stand earlier in the row already; 0 for a row shorter than `ngram`."""
    total = len(said) - ngram + 1
    if total < 1:
        return 0.0
    different = len(set(zip(*(said[start:] for start in range(ngram)), strict=False)))
    return 1 - different / total


def has_loop(said: list[str]) -> bool:
    """Whether one passage stands LOOP_TIMES or more times in a row."""
    for length in range(1, min(LONGEST_LOOP, len(said) // LOOP_TIMES) + 1):
        # A row that equals itself, moved by one round, for so long.
        needed = max(LOOP_TIMES * length, LOOP_UNITS) - length
        if b"\1" * needed in bytes(map(eq, said, said[length:])):
            return True
    return False
