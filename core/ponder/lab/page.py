"""A study as one self-contained page."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Final

from ponder.lab.study import Distribution, Study
from ponder.lab.tables import excerpt, turns_sentence

ROWS: Final = 50
TEXT: Final = 600

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0; --bar: #4f7cff; --page: #fff }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --line: #3d444d; --bar: #7ea2ff; --page: #0d1117 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-size: 14px }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top }
td.number { text-align: right; font-variant-numeric: tabular-nums }
th { color: var(--soft); font-weight: 600 }
.spread { display: flex; align-items: flex-end; gap: 1px; height: 2rem; width: 8rem }
.spread i { flex: 1; background: var(--bar); min-height: 1px }
p { color: var(--soft) }
"""


def page(found: Study, title: str) -> str:
    """The page; whatever a model wrote is escaped and cut."""
    sections = [
        _section("How the scores are spread", _distributions(found.distributions)),
        _section("What they go with", _correlations(found)),
        _section("Whose advantage changes sign", _turns(found)),
        _section("High rewards for odd responses", _suspects(found)),
    ]
    heading = html.escape(excerpt(title, 200))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{heading}</title><style>{_STYLE}</style><h1>{heading}</h1><p>{found.rollouts:,} rollouts</p>"
        f"{''.join(sections)}</html>"
    )


def _section(title: str, content: str) -> str:
    return f'<section><h2>{title}</h2><div class="wide">{content}</div></section>'


def _distributions(rows: Sequence[Distribution]) -> str:
    names = ("reward", "scored", "unscored", "mean", "deviation", "low", "median", "high", "spread")
    return _table(
        names,
        (
            [
                html.escape(row.reward),
                *map(_count, (row.scored, row.unscored)),
                *map(_number, (row.mean, row.deviation, row.low, row.median, row.high)),
                _spread(row),
            ]
            for row in rows
        ),
    )


def _spread(row: Distribution) -> str:
    most = max(row.histogram) or 1
    bars = "".join(f'<i style="height:{100 * count / most:.0f}%" title="{count:,}"></i>' for count in row.histogram)
    return f'<div class="spread">{bars}</div>'


def _correlations(found: Study) -> str:
    rows = (
        [html.escape(row.reward), html.escape(row.other), f"{row.r:+.2f}", _count(row.rollouts)]
        for row in found.correlations[:ROWS]
    )
    return _table(("reward", "with", "r", "rollouts"), rows)


def _turns(found: Study) -> str:
    if found.turns is None:
        return "<p>There is nothing to compare with, or no group has two rollouts.</p>"
    rows = (
        [html.escape(turn.place), f"{turn.before:+.3g}", f"{turn.after:+.3g}", _text(turn.text)]
        for turn in found.turns.turned[:ROWS]
    )
    return f"<p>{turns_sentence(found.turns)}.</p>" + _table(("rollout", "before", "after", "response"), rows)


def _suspects(found: Study) -> str:
    if not found.suspects:
        return "<p>None.</p>"
    rows = (
        [html.escape(row.place), _number(row.total), html.escape("; ".join(row.reasons)), _text(row.text)]
        for row in found.suspects[:ROWS]
    )
    return _table(("rollout", "total", "why", "response"), rows)


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _text(text: str) -> str:
    return html.escape(excerpt(text, TEXT))


def _number(value: float) -> str:
    return f"{value:.3g}"


def _count(value: int) -> str:
    return f"{value:,}"
