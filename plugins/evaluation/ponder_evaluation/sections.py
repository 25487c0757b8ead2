"""The sections of a report, each from the stages' readings to markup; a section with nothing to tell is empty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ponder_evaluation.charts import Chart, svg
from ponder_evaluation.markup import number, percent, table, tag, text
from ponder_evaluation.readings import Reading

SHARES: Final = ("pass@", "cons@", "format_rate", "language_consistency", "mixed_languages", "truncated")
TILES: Final = {
    "pass@1": "accuracy (pass@1)",
    "response_length": "tokens per response",
    "format_rate": "in the format",
    "language_consistency": "words in the language",
}
SHORT_FINGERPRINT: Final = 12
MOST_OPTIONS: Final = 40


def headline(evaluations: Sequence[Reading]) -> str:
    """What changed between the first and the last evaluation, in large figures."""
    if not evaluations:
        return ""
    first, last = evaluations[0], evaluations[-1]
    tiles = [_tile(name, caption, first, last) for name, caption in TILES.items() if name in last.metrics]
    return tag("div", "".join(tiles), class_="tiles")


def comparison(evaluations: Sequence[Reading]) -> str:
    """A column per evaluation, a row per metric."""
    if not evaluations:
        return ""
    head = ["measure", *(text(stage.subject) + tag("small", text(stage.name)) for stage in evaluations)]
    names = dict.fromkeys(name for stage in evaluations for name in stage.metrics)
    shown = [name for name in names if name not in ("pass@1_low", "pass@1_high")]
    rows = [[text(name), *(_measure(stage, name) for stage in evaluations)] for name in shown]
    note = "Under pass@1 stands its 95 % confidence interval, with problems as clusters. Lengths count tokens."
    return _section("Before and after", table(head, rows) + tag("p", note, class_="note"))


def chain(stages: Sequence[Reading]) -> str:
    """The stages in order, each with what it worked on, its options and its result."""
    if not stages:
        return ""
    items = [tag("li", _stage(stage)) for stage in stages]
    return _section("The recipe", tag("ol", "".join(items), class_="chain"))


def gallery(title: str, charts: Sequence[Chart], note: str = "") -> str:
    """Charts side by side, as many as the page is wide."""
    if not charts:
        return ""
    figures = "".join(tag("figure", svg(chart)) for chart in charts)
    return _section(title, tag("div", figures, class_="gallery") + (tag("p", note, class_="note") if note else ""))


def _section(title: str, content: str) -> str:
    return tag("section", tag("h2", text(title)) + content)


def _tile(name: str, caption: str, first: Reading, last: Reading) -> str:
    values = [_value(name, stage.metrics[name]) for stage in (first, last) if name in stage.metrics]
    figures = " → ".join(values if first is not last else values[:1])
    return tag("div", tag("b", figures) + tag("span", text(caption)), class_="tile")


def _measure(stage: Reading, name: str) -> str:
    value = stage.metrics.get(name)
    if value is None:
        return "–"
    written = _value(name, value)
    low, high = stage.metrics.get("pass@1_low"), stage.metrics.get("pass@1_high")
    if name == "pass@1" and low is not None and high is not None:
        written += tag("small", f"{100 * low:.1f} to {percent(high)}")
    return written


def _value(name: str, value: float) -> str:
    return percent(value) if name.startswith(SHARES) else number(value)


def _stage(stage: Reading) -> str:
    used = [f"{kind} {text(stage.options[kind])}" for kind in ("policy", "task") if stage.options.get(kind)]
    title = f"{tag('b', text(stage.name))} {tag('span', text(stage.type), class_='kind')}"
    about = tag("p", " · ".join([*used, f"fingerprint {text(stage.fingerprint[:SHORT_FINGERPRINT])}"]), class_="note")
    results = _details("results", stage.metrics) if not stage.is_evaluation else ""
    return title + about + _details("options", stage.options) + results


def _details(title: str, values: Mapping[str, object]) -> str:
    if not values:
        return ""
    rows = [[text(name), _cell(value)] for name, value in list(values.items())[:MOST_OPTIONS]]
    return tag("details", tag("summary", text(title)) + table(["name", "value"], rows))


def _cell(value: object) -> str:
    return number(value) if isinstance(value, float) else text(value)
