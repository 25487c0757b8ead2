"""Polynomials with rational coefficients, read and compared exactly in microseconds where an algebra system needs milliseconds.

Read is only what math-verify reads in the same way: a letter before a bracket is a function to it, a letter at the end may be a
unit, two numbers side by side are a mixed number. All such text is left to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from typing import TypeAlias

Polynomial: TypeAlias = Mapping[tuple[tuple[str, int], ...], Fraction]
"""Coefficients by monomial; a monomial is its variables, in order, with their powers."""

_TOKEN = re.compile(
    r"(?P<number>\d{1,12})|(?P<letter>[abckmnpqrtuvwxyz])|(?P<fraction>\\d?frac(?=\{))|(?P<times>\\cdot|\\times|\*)|(?P<sign>[-+])"
    r"|(?P<power>\^)|(?P<open>[({])|(?P<close>[)}])",
    re.ASCII,
)
_WORD = re.compile(r"[A-Za-z]{2,}")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_MAYBE_UNIT = re.compile(r"(?:^|[\d}\s])\s*(?![abknpqruvwxyz]$|[xyz]+$)[A-Za-z]+$|(?:^|[\d}\s])\s*[a-z] \S$", re.ASCII)
_FEW_LETTERS = frozenset("xyzab")
_LONGEST, _HIGHEST_POWER, _MOST_TERMS = 256, 20, 64


class _Unfit(Exception):  # noqa: N818 - never leaves this module
    """The text is not, or not certainly, a polynomial that everybody reads alike."""


@lru_cache(maxsize=4096)
def polynomial(text: str) -> Polynomial | None:
    """The polynomial that the text says; None when it says none, or could be read in another way."""
    if len(text) > _LONGEST or len(text) < 2 or _MAYBE_UNIT.search(text):
        return None
    if any(not _FEW_LETTERS.issuperset(word) for word in _WORD.findall(_COMMAND.sub(" ", text))):
        return None
    try:
        return _Reader(text).whole()
    except _Unfit:
        return None


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        place, stripped = 0, text.rstrip()
        while place < len(stripped):
            if stripped[place] == " ":
                place += 1
                continue
            token = _TOKEN.match(stripped, place)
            if token is None:
                raise _Unfit
            self._tokens.append((token.lastgroup or "", token.group()))
            place = token.end()
        self._next = 0

    def whole(self) -> Polynomial:
        found = self._sum()
        if self._next < len(self._tokens):
            raise _Unfit
        return {monomial: factor for monomial, factor in found.items() if factor}

    def _kind(self) -> str:
        return self._tokens[self._next][0] if self._next < len(self._tokens) else ""

    def _take(self, kind: str, symbol: str = "") -> str:
        if self._kind() != kind or (symbol and self._tokens[self._next][1] != symbol):
            raise _Unfit
        self._next += 1
        return self._tokens[self._next - 1][1]

    def _sum(self) -> Polynomial:
        total: dict[tuple[tuple[str, int], ...], Fraction] = {}
        sign = -1 if self._kind() == "sign" and self._take("sign") == "-" else 1
        while True:
            for monomial, factor in self._product().items():
                total[monomial] = total.get(monomial, Fraction(0)) + sign * factor
            if self._kind() != "sign":
                return total
            sign = -1 if self._take("sign") == "-" else 1

    def _product(self) -> Polynomial:
        before = self._kind()
        result, is_number = self._power()
        while (after := self._kind()) in ("times", "number", "letter", "fraction", "open"):
            if after == "times":
                self._take("times")
            elif after in ("number", "fraction") or (after == "open" and before == "letter"):
                raise _Unfit
            explicit, before = after == "times", self._kind()
            factor, is_factor_number = self._power()
            if not explicit and is_number and is_factor_number:
                raise _Unfit
            result, is_number = _times(result, factor), is_factor_number
        return result

    def _power(self) -> tuple[Polynomial, bool]:
        """A base with its exponent, and whether it is a bare number."""
        base = self._base()
        is_number = all(not monomial for monomial in base)
        if self._kind() != "power":
            return base, is_number
        self._take("power")
        exponent = self._exponent()
        if self._kind() == "power":
            raise _Unfit
        result: Polynomial = {(): Fraction(1)}
        for _ in range(exponent):
            result = _times(result, base)
        return result, is_number

    def _exponent(self) -> int:
        if self._kind() == "number":
            digits = self._take("number")
            if len(digits) > 1:
                raise _Unfit
        else:
            self._take("open", "{")
            digits = self._take("number")
            self._take("close", "}")
        if int(digits) > _HIGHEST_POWER:
            raise _Unfit
        return int(digits)

    def _base(self) -> Polynomial:
        if self._kind() == "number":
            return {(): Fraction(self._take("number"))}
        if self._kind() == "letter":
            return {((self._take("letter"), 1),): Fraction(1)}
        if self._kind() == "fraction":
            self._take("fraction")
            numerator = self._group("{", "}")
            divisor = self._group("{", "}")
            if set(divisor) != {()} or not divisor[()]:
                raise _Unfit
            return {monomial: factor / divisor[()] for monomial, factor in numerator.items()}
        return self._group("(", ")")

    def _group(self, opening: str, closing: str) -> Polynomial:
        self._take("open", opening)
        inside = self._sum()
        self._take("close", closing)
        return inside


def _times(one: Polynomial, other: Polynomial) -> Polynomial:
    if len(one) * len(other) > _MOST_TERMS**2:
        raise _Unfit
    result: dict[tuple[tuple[str, int], ...], Fraction] = {}
    for left, factor in one.items():
        for right, other_factor in other.items():
            powers = dict(left)
            for variable, power in right:
                powers[variable] = powers.get(variable, 0) + power
            monomial = tuple(sorted(powers.items()))
            result[monomial] = result.get(monomial, Fraction(0)) + factor * other_factor
    if len(result) > _MOST_TERMS:
        raise _Unfit
    return result
