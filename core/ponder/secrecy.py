"""Texts from outside without the secret that they may repeat."""

from __future__ import annotations

import json
import re
from html import escape
from typing import Final
from urllib.parse import quote, quote_plus

_HIDDEN: Final = "***"
_TELLING: Final = 4
"""A beginning of fewer characters tells nothing, and many a text ends with such letters."""


def without(secret: str, text: str) -> str:
    """The text without the secret, as it is, URL-encoded, or escaped as JSON or HTML; nor does it end with the beginning of it."""
    if not secret:
        return text
    forms = _forms(secret)
    text = re.sub("|".join(map(re.escape, forms)), _HIDDEN, text, flags=re.IGNORECASE)
    # A text that was cut may end within the secret.
    cut = max(_shared(text, form) for form in forms)
    return text[: len(text) - cut] + _HIDDEN if cut else text


def _forms(secret: str) -> list[str]:
    """The secret as servers may write it, longest first, so that none hides but a part of another."""
    quoted = json.dumps(secret)[1:-1]
    raw = json.dumps(secret, ensure_ascii=False)[1:-1]
    forms = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), quoted, raw, escape(secret)}
    forms |= {form.replace("/", "\\/") for form in (quoted, raw)}
    return sorted(forms, key=len, reverse=True)


def _shared(text: str, form: str) -> int:
    """The length of the longest beginning of `form`, short of the whole, that the text ends with; 0 for one that tells nothing."""
    return next((size for size in range(len(form) - 1, _TELLING - 1, -1) if text.endswith(form[:size])), 0)
