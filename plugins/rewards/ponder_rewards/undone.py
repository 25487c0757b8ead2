"""Calculations that a question asks for and an answer leaves undone: `3 + 4 - 2` equals 5, and says nothing about it."""

from __future__ import annotations

import re
from functools import lru_cache

from ponder.text import last_question
from ponder.types import Prompt

_LONGEST = 2000
"""Characters of a question that are looked at, from its end."""
_NUMBER = r"(?:\(\s*+)*+[-+−]?+\s*+\d++(?:[.,]\d++)*+(?:\s*+\))*+"
_SIGN = r"\s*+(?:[-+*×÷·−–]|\\(?:times|cdot|div)(?![a-z]))\s*+"
_QUOTIENT = rf"{_NUMBER}(?:\s*+/\s*+{_NUMBER})*+"
# A power belongs to what stands before it: 6 × 10^5 is a number as people write them.
_CALCULATION = rf"(?<![\w.^]){_QUOTIENT}(?:{_SIGN}{_QUOTIENT})++(?!\w|\s*\^)"
_ASKS = re.compile(_CALCULATION, re.ASCII)
_LEFT = re.compile(rf"{_CALCULATION}\s*=\s*|(?:=\s*)?{_CALCULATION}", re.ASCII)
_FRACTION = re.compile(r"\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}")


def done(answer: str, prompt: Prompt) -> str:
    """What an answer says beside calculations, when the question is one itself; otherwise all of it.

    Of `3 + 4 - 2 = 7 - 2 = 5` that is 5, and of `3 + 4 - 2 is an expression` it is no number.
    """
    return _LEFT.sub(" ", answer).strip() if _asks_for_a_calculation(_question(prompt)) else answer


def repeats_a_quotient(answer: str, prompt: Prompt) -> bool:
    """Whether the answer is a fraction that stands in the question: 10 / 2 is not yet 5."""
    answer = _plain(answer)
    return "/" in answer and answer in _plain(_question(prompt))


def _question(prompt: Prompt) -> str:
    return last_question(prompt)[-_LONGEST:]


@lru_cache(maxsize=1024)
def _asks_for_a_calculation(question: str) -> bool:
    return _ASKS.search(question) is not None


def _plain(text: str) -> str:
    return "".join(_FRACTION.sub(r"\1/\2", text).split())
