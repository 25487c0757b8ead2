"""What context extensions achieved: perplexity by position, and the needles found by length and depth, before and after."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ponder_evaluation.charts import Chart, Line, figure
from ponder_evaluation.markup import Section, anchor, label, percent, tag, text
from ponder_evaluation.pipeline import Pipeline
from ponder_evaluation.readings import Points, Reading, Row, is_number

WIDTH: Final = 440
LEFT, TOP, BOTTOM, ROW = 74, 8, 40, 34
DARKEST: Final = 0.85
MOMENTS: Final = ("before", "after")


@dataclass(frozen=True, slots=True)
class Needles:
    """The share of needles found, a row for each length."""

    moment: str
    lengths: Sequence[float]
    depths: Sequence[float]
    shares: Sequence[Sequence[float]]


def context_section(pipeline: Pipeline) -> Section:
    """Every context extension with its charts."""
    content = "".join(
        tag("h3", tag("a", text(stage.name), href=f"#{anchor(stage.name)}"))
        + tag(
            "div",
            "".join([*map(figure, perplexity_charts(stage)), *map(_heat_map, needles_of(stage))]),
            class_="gallery",
        )
        for stage in pipeline.makers
        if stage.context
    )
    note = (
        "Perplexity of unseen text by position in it, the broken line at the old length. A needle is a few random tokens hidden in a text and "
        "asked for at its end; it counts when all of them come back."
    )
    return Section("long-context", "Longer contexts", content, note)


def perplexity_charts(stage: Reading) -> Iterator[Chart]:
    """Perplexity over positions, before and after, if the stage measured it."""
    lines = [Line(moment, _perplexity(stage.context, moment)) for moment in MOMENTS]
    old = stage.context.get("original_length")
    if any(line.points for line in lines):
        marks = [(float(old), "old length")] if is_number(old) else []
        yield Chart("Perplexity by position", "position", "perplexity", lines, marks=marks)


def needles_of(stage: Reading) -> Iterator[Needles]:
    """The needles of both moments, as far as the stage's file holds them whole."""
    lengths, depths = (_numbers(stage.context.get(name)) for name in ("lengths", "depths"))
    for moment in MOMENTS:
        rows = _moment(stage.context, moment).get("needles")
        shares = [_numbers(row) for row in rows] if isinstance(rows, list) else []
        if shares and len(shares) == len(lengths) and all(len(row) == len(depths) for row in shares):
            yield Needles(moment, lengths, depths, shares)


def _perplexity(context: Row, moment: str) -> Points:
    width, values = context.get("width"), _moment(context, moment).get("perplexity")
    if not is_number(width) or not isinstance(values, list):
        return []
    return [((place + 0.5) * width, float(value)) for place, value in enumerate(values) if is_number(value)]


def _moment(context: Row, moment: str) -> Row:
    found = context.get(moment)
    return found if isinstance(found, dict) else {}


def _numbers(values: Any) -> list[float]:
    return [float(value) for value in values if is_number(value)] if isinstance(values, list) else []


def _heat_map(needles: Needles) -> str:
    head = tag("b", f"Needles found, {text(needles.moment)}") + tag("small", "share, by length and depth")
    height = TOP + ROW * len(needles.lengths) + BOTTOM
    told = (
        f"{length:g} tokens: {percent(_mean(row))}" for length, row in zip(needles.lengths, needles.shares, strict=True)
    )
    description = f"Share of needles found {needles.moment} the extension, by length. {'; '.join(told)}."
    drawn = tag(
        "svg", "".join(_cells(needles)), viewBox=f"0 0 {WIDTH} {height}", role="img", aria_label=description[:2000]
    )
    return tag("figure", tag("figcaption", head) + drawn)


def _cells(needles: Needles) -> Iterator[str]:
    across = (WIDTH - LEFT - 14) / max(1, len(needles.depths))
    bottom = TOP + ROW * len(needles.lengths)
    for row, (length, shares) in enumerate(zip(needles.lengths, needles.shares, strict=True)):
        middle = TOP + ROW * (row + 0.5)
        yield f'<text class="tick end" x="{LEFT - 7}" y="{middle + 4:.1f}">{label(f"{length:,.0f}")}</text>'
        for column, share in enumerate(shares):
            held = min(1.0, max(0.0, share))
            left = LEFT + across * column
            yield (
                f'<rect class="grid" x="{left + 1:.1f}" y="{middle - ROW / 2 + 1:.1f}" width="{across - 2:.1f}" height="{ROW - 2}" '
                f'rx="3" style="fill:var(--right);fill-opacity:{0.06 + (DARKEST - 0.06) * held:.2f}"/>'
                f'<text class="tick mid" x="{left + across / 2:.1f}" y="{middle + 4:.1f}">{100 * held:.0f}</text>'
            )
    for column, depth in enumerate(needles.depths):
        x = LEFT + across * (column + 0.5)
        yield f'<text class="tick mid" x="{x:.1f}" y="{bottom + 16}">{100 * depth:.0f} %</text>'
    yield f'<text class="axis mid" x="{(LEFT + WIDTH) / 2}" y="{bottom + 34}">depth of the needle; rows: tokens of the text</text>'


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0
