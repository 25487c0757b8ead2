"""math-verify without its own time limits: only for worker processes, which are killed when they take too long."""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import Any

import math_verify

# It would warn in every worker that its time limits are off.
logging.getLogger("math_verify").setLevel(logging.ERROR)

_DELIMITER = re.compile(r"\$|\\[()\[\]]|\\boxed")
_COMMAND = re.compile(r"\\[A-Za-z]+(?:\{[A-Za-z ]*\})?")
_PROSE = re.compile(r"[A-Za-z]{3,}|[^\x00-\x7f]")
_EQUALS = re.compile(r"(?<![<>!:=\\])=(?!=)")
_NAME = re.compile(r"\\?[A-Za-z]\w*(?:_\{\w+\})?(?:\([A-Za-z]\))?", re.ASCII)


def readable(text: str) -> bool:
    """Whether the text is mathematics."""
    return bool(_parsed(text))


def same(reference: str, answer: str) -> bool:
    """Whether the answer equals the reference; of a bare equation every side must, save a name on its left."""
    if "=" in reference or "," in answer or not _EQUALS.search(answer) or _is_prose(answer):
        return _verified(reference, answer)
    sides = [side.strip() for side in _EQUALS.split(_DELIMITER.sub(" ", answer))]
    if _NAME.fullmatch(sides[0]):
        del sides[0]
    return all(_verified(reference, side) for side in sides)


def _verified(reference: str, answer: str) -> bool:
    found = _parsed(answer)
    return bool(found) and bool(math_verify.verify(list(_parsed(reference)), list(found), timeout_seconds=None))


@lru_cache(maxsize=4096)
def _parsed(text: str) -> tuple[Any, ...]:
    """What math-verify makes of the text; empty when that is no mathematics."""
    found = math_verify.parse(_delimited(text), parsing_timeout=None)
    # It adds the text itself to what it has read, and gives the text alone when it has read nothing.
    return tuple(found) if any(not isinstance(part, str) for part in found) else ()


def _delimited(text: str) -> str:
    """The text as math-verify finds mathematics in it: a bare formula needs delimiters, a sentence must not get any."""
    return text if _DELIMITER.search(text) or _is_prose(text) else f"${text}$"


def _is_prose(text: str) -> bool:
    return _PROSE.search(_COMMAND.sub(" ", text)) is not None
