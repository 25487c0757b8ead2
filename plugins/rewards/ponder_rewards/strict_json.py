"""JSON that a model wrote, read strictly and within limits."""

from __future__ import annotations

import json
import re
from typing import Any, Final

LONGEST: Final = 200_000
"""Characters of a text that is read as JSON."""
DEEPEST: Final = 64
"""Levels of lists and objects."""

_FENCED = re.compile(r"```(?:json|JSON)?[ \t]*\n(?P<inner>.*?)\n?[ \t]*```", re.DOTALL)


class NotJsonError(ValueError):
    """The text is not JSON, or more than is read."""


def read_json(text: str) -> Any:
    """The value that a text, or the one fenced block that it is, spells.

    Raises:
        NotJsonError: not JSON by RFC 8259, an object with two members of one name, NaN or infinity, longer or deeper than is read.
    """
    if len(text) > LONGEST:
        raise NotJsonError(f"longer than {LONGEST} characters")
    fenced = _FENCED.fullmatch(text.strip())
    try:
        value = json.loads(
            fenced["inner"] if fenced else text, parse_constant=_refused, object_pairs_hook=_object, parse_float=_finite
        )
    except (ValueError, RecursionError) as error:
        raise NotJsonError(str(error)) from None
    if depth_of(value, DEEPEST) > DEEPEST:
        raise NotJsonError(f"more than {DEEPEST} levels deep")
    return value


def depth_of(value: object, deepest: int) -> int:
    """How many levels of lists and objects a value has; `deepest` + 1 where it has more."""
    depth, level = 0, [value]
    while depth <= deepest and (containers := [item for item in level if isinstance(item, dict | list)]):
        depth += 1
        level = [child for item in containers for child in (item.values() if isinstance(item, dict) else item)]
    return depth


def _refused(name: str) -> float:
    raise NotJsonError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise NotJsonError("a number too large to hold")
    return number


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(members)
    if len(made) < len(members):
        raise NotJsonError("an object has two members of one name")
    return made
