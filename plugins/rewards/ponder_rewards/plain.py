"""Answers that need no algebra: numbers in their usual spellings, option letters, words; and what no parser may see."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from ponder_rewards.unicode_mathematics import in_latex

LONGEST = 512
"""Characters of an answer that is looked at."""
_DEEPEST = 32
_MOST_DIGITS = 300

_NUMBER = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+|\d+)?(?:\.\d+)?", re.ASCII)
_DECIMAL_COMMA = re.compile(r"([+-]?(?:0|\d{4,})),(\d+)|([+-]?\d{1,3}),(\d\d)", re.ASCII)
_QUOTIENT = re.compile(r"([+-]?)\\?[dt]?(?:frac)?\{?\s*([+-]?\d+)\s*(?:\}\{|/)\s*(\d+)\s*\}?", re.ASCII)
_FRACTION = re.compile(r"[+-]?\\[dt]?frac\{\s*[+-]?\d+\s*\}\{\s*\d+\s*\}|[+-]?\d+\s*/\s*\d+", re.ASCII)
_PERCENT = re.compile(r"\s*(?:\\?%|(?<![a-z])percent)$", re.IGNORECASE)
_WORDS = re.compile(r"[^\W\d_]+(?:[ '’-]+[^\W\d_]+)*")
_OPTION = re.compile(r"\(?([A-Ja-j])\)?(?:[.:)](?:\s.*)?)?")
_WRAPPER = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|boxed)\s?\{([^{}\\$]*)\}")
_PRICE = re.compile(r"(?:\\?\$|[€£¥])\s?[\d.,]+", re.ASCII)
_MULTIPLES = {
    "dozen": "12",
    "thousand": "10^{3}",
    "million": "10^{6}",
    "billion": "10^{9}",
    "万": "10^{4}",
    "亿": "10^{8}",
}
_MULTIPLE = re.compile(rf"(?<=\d) ?(?:({'|'.join(_MULTIPLES)})(?![a-z]))", re.IGNORECASE)
_UPRIGHT = re.compile(r"\\mathrm ?\{([A-Za-z])\}")
_SPACED_COMMAS = (("{,}", ","), (",\\! ", ","), (",\\!", ","), ("{ , }", ","), (" {, }", ","))
_DELIMITERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))

_TOO_MANY_DIGITS = re.compile(rf"[0-9]{{{_MOST_DIGITS + 1}}}")
_TOWER = re.compile(
    r"\d\s*[)}]*\s*(?:\^|\*\*)[\s{(]*\d+\s*[)}]*\s*(?:\^|\*\*)|(?:(?:\^|\*\*)[^\s^*+=-]{1,8}){3}", re.ASCII
)
_GIGANTIC = re.compile(r"(?:\^|\*\*)[\s{(]*\d{5}|\d{5}\s*[)}]*\s*!|!\s*!\s*!", re.ASCII)
_COSTLY = re.compile(
    r"(?:[7-9]|\d\d)\s*![)}\]\s]+!|![)}\]\s]+![)}\]\s]+!"  # factorials of large factorials
    r"|binom\s*\{[^{}]*(?:\^|\d{5})"
    r"|(?:eye|zeros|ones)\W{0,4}\d{4}"
    r"|\\sqrt\s*\[\s*\d{4}"
    # What latex2sympy reads in a time that doubles with each level or part.
    r"|(?:\[\s*){5}|(?:\\[a-z]+\s*\(\s*){6}|(?:\\cup[^\\]*){8}",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it was written."""

    value: Fraction
    """Without its percent sign."""
    is_decimal: bool
    is_percent: bool = False


def bare(answer: str) -> str:
    """The answer without what only surrounds it: spaces, delimiters, emphasis, a box, a full stop."""
    if len(answer) > LONGEST:
        return answer
    text = _MULTIPLE.sub(_multiplied, in_latex(" ".join(answer.split())))
    text = _UPRIGHT.sub(r"\1", text)
    for written, meant in _SPACED_COMMAS:
        text = text.replace(written, meant)
    while (inner := _unwrapped(text)) != text:
        text = inner
    return text


def _multiplied(word: re.Match[str]) -> str:
    return rf"\cdot {_MULTIPLES[word[1].lower()]}"


def _unwrapped(text: str) -> str:
    text = text.strip("*").rstrip(".,;。！？").strip()
    for opening, closing in _DELIMITERS:
        inner = text[len(opening) : -len(closing)]
        if (
            text.startswith(opening)
            and text.endswith(closing)
            and not any(sign in inner for sign in ("$", "\\(", "\\["))
        ):
            return inner.strip()
    if _PRICE.fullmatch(text):
        return text.lstrip("\\$€£¥ ")
    wrapped = _WRAPPER.fullmatch(text)
    return wrapped.group(1).strip() if wrapped else text


def number(text: str) -> Number | None:
    """The number that the text is, exactly: an integer, a decimal, a fraction, with or without a percent sign."""
    if not text or len(text) > _MOST_DIGITS:
        return None
    digits = _PERCENT.sub("", text)
    is_percent = digits != text
    # Neither a list of two numbers nor thousands, as people write them.
    digits = _DECIMAL_COMMA.sub(r"\1\3.\2\4", digits) if _DECIMAL_COMMA.fullmatch(digits) else digits
    try:
        if _NUMBER.fullmatch(digits):
            return Number(Fraction(digits.replace(",", "").replace(" ", "")), "." in digits, is_percent)
        quotient = _QUOTIENT.fullmatch(digits) if _FRACTION.fullmatch(digits) else None
        if quotient:
            sign, numerator, denominator = quotient.groups()
            return Number(Fraction(int(f"{sign}1") * int(numerator), int(denominator)), False, is_percent)
    except (ValueError, ZeroDivisionError):
        return None
    return None


def is_words(text: str) -> bool:
    """Whether the text is words of any script, and nothing else."""
    return _WORDS.fullmatch(text.strip("()")) is not None


def same_words(reference: str, answer: str) -> bool:
    """Whether both say the same, in any case; for an option's letter, what follows it (`B. Paris`) does not count."""
    if len(reference.strip("()")) == 1 and reference.strip("()") in "ABCDEFGHIJ":
        option = _OPTION.fullmatch(answer)
        return option is not None and option.group(1).upper() == reference.strip("()")
    return _folded(answer) == _folded(reference)


def _folded(text: str) -> str:
    return " ".join(text.strip("()").casefold().split())


def is_safe(text: str) -> bool:
    """Whether a parser may see the text: linear checks, because what they refuse is what parsers choke on."""
    if not text or len(text) > LONGEST or not text.isprintable():
        return False
    if _TOO_MANY_DIGITS.search(text) or _TOWER.search(text) or _GIGANTIC.search(text) or _COSTLY.search(text):
        return False
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest <= _DEEPEST
