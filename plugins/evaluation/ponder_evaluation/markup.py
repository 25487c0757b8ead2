"""HTML made safely: whatever a model, a task or a recipe wrote is escaped, cut, and freed of what a page must not hold."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

LONGEST_TEXT: Final = 4000
LARGE: Final = 1e7
REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"

_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
# Control characters, lone surrogates, and the marks that turn the direction of the text around them.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page under a heading of its own; one without content is left out."""

    id: str
    title: str
    content: str
    note: str = ""

    @property
    def markup(self) -> str:
        """The section as an element."""
        remark = tag("p", text(self.note), class_="note") if self.note else ""
        return tag("section", tag("h2", text(self.title)) + remark + self.content, id=self.id)


def text(value: object) -> str:
    """A value as text of a page, at most 4,000 characters of it."""
    return html.escape(cut(value))


def cut(value: object, longest: int = LONGEST_TEXT) -> str:
    """A value as text that a page may hold, not yet escaped: without unsafe characters, and not longer than this."""
    whole = _clean(value)
    left_out = len(whole) - longest
    return whole[:longest] + (f" … ({left_out} more characters)" if left_out > 0 else "")


def label(value: object, longest: int = 60) -> str:
    """A value as a short label in a chart, escaped."""
    whole = _clean(value).replace("\n", " ")
    return html.escape(whole if len(whole) <= longest else whole[: longest - 1] + "…")


def script_data(value: object) -> str:
    """JSON that may stand inside a script element: no character of it can end the element or open a comment."""
    written = json.dumps(value, separators=(",", ":"), sort_keys=True)
    return written.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def anchor(name: str) -> str:
    """The id of the part of the page that tells about a stage."""
    return "stage-" + "".join(char if char.isascii() and char.isalnum() else f"_{ord(char):x}_" for char in name)


def tag(name: str, content: str, **attributes: str) -> str:
    """An element around content that is markup already; `class_` stands for `class`, `aria_label` for `aria-label`."""
    pairs = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    written = "".join(f' {key}="{html.escape(_clean(value))}"' for key, value in pairs)
    return f"<{name}{written}>{content}</{name}>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, class_: str = "") -> str:
    """A table whose cells are markup, the first of a row its heading; on narrow screens rows become cards of named values."""
    top = tag("tr", "".join(tag("th", cell, scope="col") for cell in head))
    names = [html.unescape(re.sub("<[^>]*>", " ", cell)).strip() for cell in head]
    body = (
        tag("th", row[0], scope="row")
        + "".join(tag("td", cell, data_name=name) for name, cell in zip(names[1:], row[1:], strict=True))
        for row in rows
    )
    whole = tag("thead", top) + tag("tbody", "".join(tag("tr", cells) for cells in body))
    return tag("div", tag("table", whole, **({"class_": class_} if class_ else {})), class_="scroll")


def number(value: float) -> str:
    """A number in three significant digits, large ones in full or in powers of ten."""
    if abs(value) >= LARGE:
        mantissa, _, power = f"{value:.2e}".partition("e")
        return f"{mantissa} × 10{str(int(power)).translate(_SUPERSCRIPT)}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def percent(value: float) -> str:
    """A share as a percentage with one decimal."""
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def points(value: float) -> str:
    """A difference of shares in percentage points, with its sign where it is not nothing."""
    written = f"{100 * value:+.1f}"
    return "0.0" if float(written) == 0 else written.replace("-", "\N{MINUS SIGN}")


def _clean(value: object) -> str:
    return _UNSAFE.sub(REPLACEMENT, str(value).replace("\r\n", "\n"))
