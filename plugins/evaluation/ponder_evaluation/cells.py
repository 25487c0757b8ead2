"""What stands in the cells of the report's tables: models, shares with intervals, differences with their tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ponder_evaluation.axes import linear_axis
from ponder_evaluation.charts import COLOURS, MARKERS, marker
from ponder_evaluation.markup import anchor, number, percent, points, tag, text
from ponder_evaluation.pipeline import Model, Pipeline
from ponder_evaluation.readings import Reading
from ponder_evaluation.standings import Change

STRIP_WIDTH, STRIP_HEIGHT = 150, 22
COUNTED: Final = ("response_length", "reflection_rate")
"""Metrics of an evaluation that are no shares."""
LEAST_P: Final = 0.001


def swatch(model: Model) -> str:
    """The mark and the colour that a model has everywhere."""
    shape = marker(model.colour % MARKERS, 6, 6)
    return f'<svg class="swatch m{model.colour % COLOURS}" viewBox="0 0 12 12" aria-hidden="true">{shape}</svg>'


def model_cell(pipeline: Pipeline, name: str) -> str:
    """A model, leading to the stage that made it."""
    model, stage = pipeline.models[name], pipeline.stage(name)
    written = tag("a", text(name), href=f"#{anchor(name)}") if stage else text(name)
    return swatch(model) + written + (tag("small", text(stage.type)) if stage else "")


def measure(name: str, value: float) -> str:
    """The value of a metric of an evaluation."""
    return number(value) if name.startswith(COUNTED) else percent(value)


def interval_of(stage: Reading, unit: str = "") -> str:
    """The 95 % interval of an evaluation's pass@1; empty when it has none."""
    low, high = stage.metrics.get("pass@1_low"), stage.metrics.get("pass@1_high")
    return "" if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f}{unit}"


def share_cell(stage: Reading) -> str:
    """An evaluation's pass@1 above its interval."""
    interval = interval_of(stage)
    return percent(stage.metrics["pass@1"]) + (tag("small", interval) if interval else "")


def strip_cell(model: Model, stage: Reading) -> str:
    """pass@1 and its interval on a line from 0 to 1."""
    axis = linear_axis([0.0, 1.0], 6.0, STRIP_WIDTH - 6.0)
    middle = STRIP_HEIGHT // 2
    ends = f"M6 {middle}H{STRIP_WIDTH - 6}" + "".join(f"M{axis.at(x):.0f} {middle - 3}v6" for x in (0.0, 0.5, 1.0))
    drawn = f'<path class="rail" d="{ends}"/>'
    low, high = stage.metrics.get("pass@1_low"), stage.metrics.get("pass@1_high")
    if low is not None and high is not None:
        drawn += f'<path class="span" d="M{axis.at(low):.1f} {middle}H{axis.at(high):.1f}"/>'
    dot = marker(model.colour % MARKERS, axis.at(stage.metrics["pass@1"]), middle, 4)
    content = f'<g class="m{model.colour % COLOURS}">{drawn}<g class="dot">{dot}</g></g>'
    box = f"0 0 {STRIP_WIDTH} {STRIP_HEIGHT}"
    return tag("svg", content, viewBox=box, class_="strip", aria_hidden="true")


def change_cell(change: Change, against: str | None = None) -> str:
    """A difference in percentage points, bold where it is clear, above what it is against, its interval and its p-value."""
    written = points(change.difference)
    whole = tag("b", written) if change.is_clear else written
    against_whom = f" on {text(against)}" if against else ""
    return whole + against_whom + "".join(tag("small", fact) for fact in _facts(change))


def told(change: Change) -> str:
    """A difference in percentage points with its interval and p-value, as text."""
    interval, *test = [*_facts(change), "", ""]
    return (
        f"{points(change.difference)} points{f' ({interval})' if interval else ''}{f', {test[0]}' if test[0] else ''}"
    )


def _facts(change: Change) -> Iterator[str]:
    if change.low is not None and change.high is not None:
        yield f"{points(change.low)} to {points(change.high)}"
    if change.p_value is not None:
        yield f"p < {LEAST_P}" if change.p_value < LEAST_P else f"p = {change.p_value:.3f}"
