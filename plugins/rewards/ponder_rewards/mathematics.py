"""math-verify without its own time limits: only for worker processes, which are killed when they take too long.

Verdicts are its own, save where it accepts what is no answer:

* a side of an equation counts only when the other side is a name or equal to it: `0 = 5` and `x + y = 5` are not 5;
* a percent sign means a hundredth: `42\\%` is 0.42 and not 42. Of a reference in percent the answer may leave the sign out;
* two numbers near zero are equal when they agree in three digits: `e^{-50}` is not `\\pi^{-60}`, nor 0.0000001 0.0000002;
* a bound is no number: `\\ge 4` and `\\ne 4` are not 4;
* Unicode's signs are read (`ponder_rewards.unicode_mathematics`): `4²` is 16 and not 4, and `√2` is `\\sqrt{2}`;
* words are words: `spair` is not Paris, though the products of their letters are equal.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import Any

import math_verify
from sympy import Derivative, Expr, Integral, Limit, Product, Sum
from sympy.core.function import AppliedUndef

# It would warn in every worker that its time limits are off.
logging.getLogger("math_verify").setLevel(logging.ERROR)

_DELIMITER = re.compile(r"\$|\\[()\[\]]|\\boxed")
_NO_PROSE = re.compile(r"\\[A-Za-z]+(?:\{[A-Za-z ]*\})?|_\{\w*\}|\b(?:and|or|infinity)\b")
_PROSE = re.compile(r"[A-Za-z]{3,}|[^\x00-\x7f]")
_PERCENT = re.compile(r"\s*(?:\\?%|\bpercent|\\text\{ ?percent\})\s*\$?$", re.IGNORECASE)
_TINY = 1e-6
_POINTS = (0.71, 1.37)
_MOST_OPERATIONS = 500
_UNEVALUATED = (Limit, Integral, Sum, Product, Derivative, AppliedUndef)
_EQUALS = re.compile(r"(?<![<>!:=\\])=(?!=)")
_NAME = re.compile(r"\\?[A-Za-z]\w*(?:_\{\w+\})?(?:\([A-Za-z]\))?", re.ASCII)


def readable(text: str) -> bool:
    """Whether the text is mathematics."""
    return bool(_reference(text))


def same(reference: str, answer: str) -> bool:
    """Whether the answer equals the reference; of a bare equation every side must, save a name on its left."""
    percent = _PERCENT.search(answer)
    if percent and not _PERCENT.search(reference):
        value = answer[: percent.start()]
        return (
            not _is_prose(value) and "=" not in value and _verified(reference, rf"\frac{{{value.strip('$ ')}}}{{100}}")
        )
    if "=" in reference or "," in answer or not _EQUALS.search(answer) or _is_prose(answer):
        return _verified(reference, answer)
    sides = [side.strip() for side in _EQUALS.split(_DELIMITER.sub(" ", answer))]
    if _NAME.fullmatch(sides[0]):
        del sides[0]
    return all(_verified(reference, side) for side in sides)


def _verified(reference: str, answer: str) -> bool:
    expected, found = _reference(reference), _parsed(answer)
    if not found or _differ_somewhere(expected[0], found[0]):
        return False
    if not math_verify.verify(list(expected), list(found), timeout_seconds=None):
        return False
    return not _only_both_tiny(expected[0], found[0])


def _differ_somewhere(expected: Any, found: Any) -> bool:
    """Whether a formula with letters has another value than the reference at two points: no algebra can make them equal then."""
    if not (isinstance(expected, Expr) and isinstance(found, Expr)) or not found.free_symbols:
        return False
    if any(one.has(*_UNEVALUATED) or one.count_ops() > _MOST_OPERATIONS for one in (expected, found)):
        return False
    letters = sorted({*expected.free_symbols, *found.free_symbols}, key=str)
    return all(
        _differ_at(expected, found, {letter: at + 0.13 * place for place, letter in enumerate(letters)})
        for at in _POINTS
    )


def _differ_at(expected: Expr, found: Expr, point: dict[Any, float]) -> bool:
    try:
        ours, theirs = (one.evalf(subs=point) for one in (expected, found))
        return bool(ours.is_finite and theirs.is_finite and abs(ours - theirs) > 0.001 * (1 + abs(ours)))
    except (TypeError, ValueError, ArithmeticError, AttributeError):
        return False


def _only_both_tiny(expected: Any, found: Any) -> bool:
    """Whether two constants were found equal because both are almost nothing."""
    if not (isinstance(expected, Expr) and isinstance(found, Expr)) or expected.free_symbols or found.free_symbols:
        return False
    ours, theirs = (abs(one.doit().evalf(20)) for one in (expected, found))
    if not (ours.is_Float and theirs.is_Float) or max(ours, theirs) > _TINY:
        return False
    return bool(abs(ours - theirs) > max(ours, theirs) / 1000)


@lru_cache(maxsize=1024)
def _reference(text: str) -> tuple[Any, ...]:
    # Many answers are compared with one reference, which is worth keeping; what a model wrote is not.
    return _parsed(text)


def _parsed(text: str) -> tuple[Any, ...]:
    """What math-verify makes of the text; empty when that is no mathematics."""
    found = math_verify.parse(_delimited(text), parsing_timeout=None)
    # It adds the text itself to what it has read, and gives the text alone when it has read nothing.
    return tuple(found) if any(not isinstance(part, str) for part in found) else ()


def _delimited(text: str) -> str:
    """The text as math-verify finds mathematics in it: a bare formula needs delimiters, a sentence must not get any."""
    return text if _DELIMITER.search(text) or _is_prose(text) else rf"\boxed{{{text}}}"


def _is_prose(text: str) -> bool:
    return _PROSE.search(_NO_PROSE.sub(" ", text)) is not None
