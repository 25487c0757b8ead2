"""HTML made safely: whatever a model, a task or a recipe wrote is escaped, cut, and freed of what a page must not hold."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from typing import Final

LONGEST_TEXT: Final = 4000
REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"

# Control characters, lone surrogates, and the marks that turn the direction of the text around them.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def text(value: object) -> str:
    """A value as text of a page, at most 4,000 characters of it."""
    whole = _UNSAFE.sub(REPLACEMENT, str(value).replace("\r\n", "\n"))
    cut = len(whole) - LONGEST_TEXT
    return html.escape(whole[:LONGEST_TEXT]) + (f" … ({cut} more characters)" if cut > 0 else "")


def plain(value: object) -> str:
    """A value as a short label in a chart: printable ASCII."""
    return re.sub(r"[^\x20-\x7e]", "?", str(value))[:40]


def tag(name: str, content: str, **attributes: str) -> str:
    """An element around content that is markup already; `class_` stands for `class`."""
    written = "".join(f' {key.rstrip("_")}="{html.escape(value)}"' for key, value in attributes.items())
    return f"<{name}{written}>{content}</{name}>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in a box that scrolls on narrow screens; the cells are markup, the first of a row its heading."""
    top = tag("tr", "".join(tag("th", cell, scope="col") for cell in head))
    body = (tag("th", row[0], scope="row") + "".join(tag("td", cell) for cell in row[1:]) for row in rows)
    whole = tag("thead", top) + tag("tbody", "".join(tag("tr", cells) for cells in body))
    return tag("div", tag("table", whole), class_="scroll")


def number(value: float) -> str:
    """A number in three significant digits, large ones in full."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def percent(value: float) -> str:
    """A share as a percentage with one decimal."""
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}%"
