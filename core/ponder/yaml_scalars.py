"""What an unquoted YAML word means: the core schema of YAML 1.2, with `${oc.env:...}` filled in first."""

from __future__ import annotations

import math
import os
import re
from typing import Final, TypeAlias

Scalar: TypeAlias = bool | int | float | str | None

_INTEGER = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: Final[dict[str, Scalar]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_LARGEST = 2**63
_LONGEST = 22
"""Digits of the largest number in octal: what is longer need not be converted to know that it does not fit."""

_INTERPOLATION = re.compile(r"\$\{oc\.env:([A-Za-z_][A-Za-z0-9_]*)(?:,([^${}]*))?\}")
_ALLOWED = re.compile(r"PONDER_[A-Z0-9_]+")


def plain_scalar(text: str) -> Scalar:
    """The value of an unquoted word; ValueError says why a number is refused."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return _bounded(text, 10)
    if _OCTAL.fullmatch(text):
        return _bounded(text[2:], 8)
    if _HEXADECIMAL.fullmatch(text):
        return _bounded(text[2:], 16)
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"{text} is not a finite number; write a finite one, or quote it if it is a text")
    if _FLOAT.fullmatch(text):
        return _finite(text)
    return text


def _bounded(digits: str, base: int) -> int:
    significant = digits.lstrip("+-").lstrip("0")
    number = int(digits, base) if len(significant) <= _LONGEST else _LARGEST
    if abs(number) >= _LARGEST:
        raise ValueError(f"a number of {len(significant)} digits does not fit into 64 bits; quote it if it is a text")
    return number


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("the number is larger than a float can hold; write a smaller one")
    return number


def interpolate(text: str, seen: dict[str, str]) -> str:
    """The text with `${oc.env:PONDER_NAME}` and `${oc.env:PONDER_NAME,default}` filled in; ValueError for any other `${`.

    `seen` gains the name of each variable by the value that was used.
    """

    def value_of(match: re.Match[str]) -> str:
        return _environment(match[1], match[2], seen)

    if "${" in _INTERPOLATION.sub("", text):
        raise ValueError(
            "only ${oc.env:PONDER_NAME} or ${oc.env:PONDER_NAME,default} may stand in a recipe; no other ${...} is read"
        )
    return _INTERPOLATION.sub(value_of, text)


def _environment(name: str, default: str | None, seen: dict[str, str]) -> str:
    if not _ALLOWED.fullmatch(name):
        raise ValueError(
            f"a recipe may read only environment variables named PONDER_*, not {name}, so that no secret ends up in a "
            "run's files; give components the name of a secret's variable instead"
        )
    value = os.environ.get(name, default)
    if value is None:
        raise ValueError(f"environment variable {name} is not set; set it, or write ${{oc.env:{name},default}}")
    if "${" in value:
        raise ValueError(f"environment variable {name} holds '${{', which is not read a second time")
    seen[value] = name
    return value
