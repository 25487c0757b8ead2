"""Mathematics in Unicode's signs, as people and models write it, in LaTeX: `4×10⁶` is `4\\times 10^{6}`, `x ≤ ½` is `x \\le \\frac{1}{2}`."""

from __future__ import annotations

import re
import unicodedata

_SIGNS = {
    "\N{MINUS SIGN}": "-",
    "\N{EN DASH}": "-",
    "\N{MULTIPLICATION SIGN}": r"\times ",
    "\N{MIDDLE DOT}": r"\cdot ",
    "\N{DOT OPERATOR}": r"\cdot ",
    "\N{DIVISION SIGN}": "/",
    "\N{DIVISION SLASH}": "/",
    "\N{FRACTION SLASH}": "/",
    "\N{PLUS-MINUS SIGN}": r"\pm ",
    "\N{SQUARE ROOT}": r"\sqrt ",
    "\N{INFINITY}": r"\infty ",
    "\N{LESS-THAN OR EQUAL TO}": r"\le ",
    "\N{GREATER-THAN OR EQUAL TO}": r"\ge ",
    "\N{NOT EQUAL TO}": r"\ne ",
    "\N{ALMOST EQUAL TO}": r"\approx ",
    "\N{UNION}": r"\cup ",
    "\N{INTERSECTION}": r"\cap ",
    "\N{ELEMENT OF}": r"\in ",
    "\N{GREEK SMALL LETTER PI}": r"\pi ",
    "\N{GREEK SMALL LETTER THETA}": r"\theta ",
    "\N{DEGREE SIGN}": r"^\circ ",
    "\N{PER MILLE SIGN}": r"\cdot 10^{-3}",
    "\N{HORIZONTAL ELLIPSIS}": r"\ldots ",
    "\N{IDEOGRAPHIC COMMA}": ",",
}
_FRACTIONS = {sign: unicodedata.normalize("NFKC", sign).split("\N{FRACTION SLASH}") for sign in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"}
_FULL_WIDTH = dict(zip("＋－＝（），：；＜＞［］｛｝／％", "+-=(),:;<>[]{}/%", strict=True))
_TABLE = str.maketrans(
    _FULL_WIDTH | _SIGNS | {sign: rf"\frac{{{above}}}{{{below}}}" for sign, (above, below) in _FRACTIONS.items()}
)
_AREA = re.compile(r"(?<=\d)(?: m| ?(?:[mcdk]m|in|ft|yd|mi))[²³]")
"""Units, which do not count."""
_RAISED = re.compile("[⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_LOWERED = re.compile("[₀₁₂₃₄₅₆₇₈₉]+")
_ROOT = re.compile(r"\\sqrt \(([^()]*)\)|\\sqrt (\d+)")
_JOINED = re.compile(r"(?<=\d)\s*(?:或者?|和|与|及)\s*(?=[-+]?\d)")


def in_latex(text: str) -> str:
    """The text with Unicode's signs for numbers and relations in LaTeX; all others as they are."""
    if text.isascii():
        return text
    text = _AREA.sub("", text)
    text = _RAISED.sub(lambda run: f"^{{{_plain(run)}}}", text)
    text = _LOWERED.sub(lambda run: f"_{{{_plain(run)}}}", text)
    text = _JOINED.sub(" or ", text.translate(_TABLE))
    return _ROOT.sub(lambda root: rf"\sqrt{{{root[1] or root[2]}}}", text)


def _plain(run: re.Match[str]) -> str:
    return unicodedata.normalize("NFKC", run[0]).replace("\N{MINUS SIGN}", "-")
