"""What error texts say about names that do not exist and about values that may be secret."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_LISTED = 12
_SHOWN_CHARACTERS = 60
_SECRET = re.compile(
    r"hf_[A-Za-z0-9]{8,}|sk-[A-Za-z0-9_-]{8,}|gh[pousr]_[A-Za-z0-9]{8,}|AKIA[A-Z0-9]{8,}|xox[a-z]-[A-Za-z0-9-]{8,}"
    r"|(?<=://)[^/\s@]+(?=@)|(?<=Bearer )\S+"
)
_SECRET_KEY = re.compile(r"(^|[_.-])(api_?key|key|token|password|passwd|secret|credentials?)([_.-]|$)", re.IGNORECASE)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The nearest known name as a question, else the known names, else that there are none."""
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{near[0]}'?"
    if not names:
        return "there are none."
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"known: {', '.join(names[:_LISTED])}{more}."


def shown(value: object, key: str = "") -> str:
    """A value as an error text shows it: short, on one line, and not at all when its key sounds like a secret's."""
    if _SECRET_KEY.search(key) and isinstance(value, str):
        return "a value that is not shown"
    text = redacted(repr(value))
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


def redacted(text: str) -> str:
    """The text without what looks like a token, a key or the credentials of an address."""
    return _SECRET.sub("[hidden]", text)
