"""Reward `accuracy`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from ponder import Completion, Example
from ponder.text import extract_answer
from ponder_rewards import AccuracyConfig

_LONGEST = 512
_DEEPEST = 32
_MOST_DIGITS = 300

_NUMBER = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?", re.ASCII)
_QUOTIENT = re.compile(r"[+-]?\d+/\d+", re.ASCII)
_WORDS = re.compile(r"[^\W\d_]+(?:[ '’-]+[^\W\d_]+)*")
_TOO_MANY_DIGITS = re.compile(rf"[0-9]{{{_MOST_DIGITS + 1}}}")


class Accuracy:
    """1.0 when the response's answer equals the example's, 0.0 when it does not (DeepSeek-R1, section 2.2.2).

    The answer is what `ponder.text.extract_answer` finds; of one longer than 512 characters, its last line. Plain numbers and
    words are compared here; everything else by math-verify, symbolically. A side of an equation counts as the answer only
    when the other side is a name or equal to it. Abstains when the example has no answer, or one that cannot be read. An
    answer that is too long, too deep, or has too many digits to be read safely is wrong.
    """

    def __init__(self, config: AccuracyConfig) -> None:
        self._tolerance = Fraction(str(config.tolerance))

    def warm_up(self) -> None:
        """Load the algebra, and what it builds on first use, before any sample is timed."""
        _same_mathematics(r"\frac{x^2+1}{2}", r"\frac{1}{2}(1+x^2)")

    def __call__(self, example: Example, completion: Completion) -> float | None:
        reference = _reference(example.answer) if example.answer is not None else None
        if reference is None:
            return None
        return float(self._equal(reference, _bare(_final(extract_answer(completion.text)))))

    def _equal(self, reference: _Reference, answer: str) -> bool:
        if answer == reference.text:
            return True
        number = _number(answer)
        if reference.number is not None and number is not None:
            whole = "." not in reference.text + answer
            allowed = 0 if whole else self._tolerance * abs(reference.number)
            return abs(reference.number - number) <= allowed
        if reference.is_words:
            return _folded(answer) == _folded(reference.text)
        return _is_safe(answer) and _same_mathematics(reference.text, answer)


@dataclass(frozen=True, slots=True)
class _Reference:
    text: str
    number: Fraction | None
    is_words: bool


@lru_cache(maxsize=4096)
def _reference(answer: str) -> _Reference | None:
    """The example's answer as it is compared; None when it cannot be read."""
    text = _bare(answer)
    number, is_words = _number(text), bool(_WORDS.fullmatch(text))
    if number is None and not is_words and not (_is_safe(text) and _readable(text)):
        return None
    return _Reference(text, number, is_words)


def _final(answer: str) -> str:
    return answer if len(answer) <= _LONGEST else answer.rpartition("\n")[2]


def _bare(answer: str) -> str:
    """The answer without what only surrounds it: spaces, one pair of delimiters, emphasis, a box, a full stop."""
    if len(answer) > _LONGEST:
        return answer
    text = " ".join(answer.split()).strip("*").rstrip(".。").strip().replace("\N{MINUS SIGN}", "-")
    for opening, closing in (("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("\\boxed{", "}")):
        inner = text[len(opening) : -len(closing)]
        if text.startswith(opening) and text.endswith(closing) and not set("$\\{}") & set(inner):
            text = inner.strip()
    return text


def _number(text: str) -> Fraction | None:
    if len(text) > _MOST_DIGITS or not text or not (_NUMBER.fullmatch(text) or _QUOTIENT.fullmatch(text)):
        return None
    try:
        return Fraction(text.replace(",", ""))
    except (ValueError, ZeroDivisionError):
        return None


def _folded(text: str) -> str:
    return " ".join(text.strip("()").casefold().split())


def _is_safe(text: str) -> bool:
    """Whether a parser may see the text: linear checks, because what they refuse is what parsers choke on."""
    if not text or len(text) > _LONGEST or _TOO_MANY_DIGITS.search(text) or not text.isprintable():
        return False
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest <= _DEEPEST


def _readable(text: str) -> bool:
    return bool(_mathematics().readable(text))


def _same_mathematics(reference: str, answer: str) -> bool:
    return bool(_mathematics().same(reference, answer))


def _mathematics() -> Any:
    # Imported where it is used: the trainer builds rewards too, and has no need of an algebra system.
    from ponder_rewards import mathematics

    return mathematics
