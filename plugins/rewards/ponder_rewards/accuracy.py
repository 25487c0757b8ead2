"""Reward `accuracy`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from ponder import Completion, Example
from ponder.text import conclusion, extract_answer
from ponder.types import Prompt
from ponder_rewards import AccuracyConfig
from ponder_rewards.plain import LONGEST, Number, bare, is_safe, is_words, number, same_words
from ponder_rewards.polynomials import Polynomial, polynomial
from ponder_rewards.undone import done, repeats_a_quotient

_LEAST_AGREEMENT = Fraction(1, 1000)
_INNERMOST = r"\{[^{}]{0,99}\}"
_INNER = rf"\{{(?:[^{{}}]|{_INNERMOST}){{0,99}}\}}"
_BOXED = rf"(?:[^{{}}]|\{{(?:[^{{}}]|{_INNER}){{0,99}}\}}){{0,200}}"
_ANSWER = re.compile(rf"<answer>([^<>]{{0,200}})</answer>|\\boxed ?\{{({_BOXED})\}}")
_BETWEEN = re.compile(
    r"(?:[\s,;/&|$.]|\\[,;() ]|\\q?quad|\b(?:or|and)\b|[或和]|[a-z]\w*(?:_\{\w+\})? ?="
    r"|\bfor part \([a-z]\)|\\text ?\{[^{}]{0,24}\})*",
    re.IGNORECASE,
)
_RELATION = re.compile(r"(?:\\(?:ne|neq|not|ge|geq|geqslant|gt|le|leq|leqslant|lt)\b|[<>]|not\s[-+\d])", re.IGNORECASE)
"""What makes a number a bound, or what the answer is not."""
_STATEMENT = re.compile(
    r"(?:\b(?:answer|option|choice)\W{0,4}(?:is|would be|:)|答案(?:应该|应当)?(?:是|为|：|:))[\s:*_]*(?!\s)",
    re.IGNORECASE,
)
_SENTENCE_ENDS = re.compile(r"[.。!！?？](?=\s|$)|[。！？]")
_FARTHEST = 60
_MOST_PARTS = 32


class Accuracy:
    """1.0 when the response's answer equals the example's, 0.0 when it does not (DeepSeek-R1, section 2.2.2).

    The answer is what `ponder.text.extract_answer` finds; of one longer than 512 characters, its end. Several different ones
    side by side are no answer, save to a problem with several: then they are one. Plain numbers, polynomials and words are compared here, everything else by math-verify;
    the verdicts are math-verify's, save for what `ponder_rewards.mathematics` lists. Abstains when the example has no answer,
    or one that cannot be read and is not repeated to the letter. Where the question is a calculation (`What is 3 + 4 - 2?`) a calculation is no answer, however equal. An answer that is too long, too deep, or too large a number to be read safely is wrong.
    """

    def __init__(self, config: AccuracyConfig) -> None:
        self._tolerance = Fraction(str(config.tolerance))

    def warm_up(self) -> None:
        """Load the algebra, and what it builds on first use, before any sample is timed."""
        _same_mathematics(r"\frac{x^2+1}{2}", r"\frac{1}{2}(1+x^2)")

    def __call__(self, example: Example, completion: Completion) -> float | None:
        if example.answer is None:
            return None
        reference = _reference(example.answer)
        answer = bare(_final(extract_answer(completion.text)))
        if reference is None:
            return 1.0 if answer and answer == bare(example.answer) else None
        together = _side_by_side(conclusion(completion.text))
        if together is not None:
            return float(reference.has_parts and is_safe(together) and _same_mathematics(reference.text, together))
        return float(answer == reference.text or self._equal(reference, answer, example.prompt))

    def _equal(self, reference: _Reference, answer: str, prompt: Prompt) -> bool:
        answer = _stated(answer, reference)
        if reference.number is not None:
            if _RELATION.match(answer):
                return False
            left = done(answer, prompt)
            answer = answer if left is answer else bare(left)
            if (found := number(answer)) is not None:
                return self._same_number(reference.number, found) and not repeats_a_quotient(answer, prompt)
        if reference.is_words:
            return same_words(reference.text, answer)
        if reference.polynomial is not None and (same := polynomial(answer)) is not None:
            return same == reference.polynomial
        return is_safe(answer) and _same_mathematics(reference.text, answer)

    def _same_number(self, reference: Number, found: Number) -> bool:
        """Equality; of decimals, to six places and the tolerance. Of a reference in percent the sign may be left out."""
        if (
            reference.is_percent
            and not found.is_percent
            and self._close(reference, reference.value, found.value, found)
        ):
            return True
        ours, theirs = (one.value / 100 if one.is_percent else one.value for one in (reference, found))
        return self._close(reference, ours, theirs, found)

    def _close(self, reference: Number, ours: Fraction, theirs: Fraction, found: Number) -> bool:
        if not (reference.is_decimal or found.is_decimal):
            return ours == theirs
        difference = abs(ours - theirs)
        # math-verify compares six places, which makes all tiny numbers equal.
        rounded = round(ours, 6) == round(theirs, 6) and difference <= _LEAST_AGREEMENT * abs(ours)
        return rounded or difference <= self._tolerance * abs(ours)


@dataclass(frozen=True, slots=True)
class _Reference:
    text: str
    number: Number | None
    polynomial: Polynomial | None
    is_words: bool

    @property
    def has_parts(self) -> bool:
        """Whether it may be a collection: of numbers, of points, of solutions."""
        return self.number is None and self.polynomial is None and not self.is_words


@lru_cache(maxsize=4096)
def _reference(answer: str) -> _Reference | None:
    """The example's answer as it is compared; None when it cannot be read."""
    text = bare(answer if len(answer) <= LONGEST else _final(extract_answer(answer)))
    if not text or len(text) > LONGEST:
        return None
    found = number(text)
    terms = polynomial(text) if found is None else _constant(found)
    words = found is None and terms is None and is_words(text)
    if found is None and terms is None and not words and not (is_safe(text) and _readable(text)):
        return None
    return _Reference(text, found, terms, words)


def _constant(found: Number) -> Polynomial | None:
    exact = not (found.is_decimal or found.is_percent)
    return ({(): found.value} if found.value else {}) if exact else None


def _final(answer: str) -> str:
    """The answer, or the end of a long one: its last line, or as many of its last words as a verifier looks at."""
    if len(answer) <= LONGEST:
        return answer
    last = answer.rpartition("\n")[2]
    return last if len(last) <= LONGEST else last[-LONGEST:].partition(" ")[2]


def _stated(answer: str, reference: _Reference) -> str:
    """What a sentence says to be the answer, of an answer that is a sentence: `The answer is (B).`, `答案是4。`."""
    statements = list(_STATEMENT.finditer(answer))
    if not statements:
        return answer
    said = bare(answer[statements[-1].end() :])
    if reference.is_words:
        return bare(_SENTENCE_ENDS.split(said, maxsplit=1)[0])
    return said if number(said) is not None else answer


def _side_by_side(text: str) -> str | None:
    """Several different answers that stand side by side, `\\boxed{1} or \\boxed{2}`, as they stand there; None when the last is alone."""
    found = list(_ANSWER.finditer(text))[-_MOST_PARTS:]
    if not found:
        return None
    first = last = found.pop()
    while found and _belong_together(text[found[-1].end() : first.start()]):
        first = found.pop()
    parts = {bare(part[1] or part[2] or "") for part in _ANSWER.finditer(text, first.start(), last.end())}
    return " ".join(text[first.start() : last.end()].split()) if len(parts) > 1 else None


def _belong_together(between: str) -> bool:
    return len(between) <= _FARTHEST and _BETWEEN.fullmatch(between) is not None


def _readable(text: str) -> bool:
    return bool(_mathematics().readable(text))


def _same_mathematics(reference: str, answer: str) -> bool:
    return bool(_mathematics().same(reference, answer))


def _mathematics() -> Any:
    # Imported where it is used: the trainer builds rewards too, and has no need of an algebra system.
    from ponder_rewards import mathematics

    return mathematics
