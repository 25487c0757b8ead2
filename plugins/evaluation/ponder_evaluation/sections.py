"""The sections about the stages themselves: what each did, on what, with which options, and what its numbers did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ponder_evaluation.charts import Chart, figure
from ponder_evaluation.exams import Exam, exam_charts, families
from ponder_evaluation.figures import curves, emergence
from ponder_evaluation.graph import KINDS, LINKS, pipeline_graph
from ponder_evaluation.heatmaps import heat_figures
from ponder_evaluation.markup import Section, anchor, number, percent, table, tag, text
from ponder_evaluation.pipeline import Pipeline, kind_of
from ponder_evaluation.readings import Reading, Row, is_number

SHORT_FINGERPRINT: Final = 12
MOST_OPTIONS: Final = 60
FIRST_RESULTS: Final = 8
CURVES_NOTE: Final = "Thin lines are single steps, thick ones a moving mean over a tenth of them; broken upright lines are changes that the recipe plans."


def pipeline_section(pipeline: Pipeline) -> Section:
    """The graph of the run."""
    note = "A box is a stage and leads to its section; the dot is the model's colour in every chart."
    return Section("pipeline", "The pipeline", pipeline_graph(pipeline), note)


def emergence_section(pipeline: Pipeline) -> Section:
    """What reinforcement did over its steps, all its stages of a family in one chart."""
    found = [(root, charts) for root, charts in emergence(pipeline) if charts]
    content = "".join(
        (tag("h3", f"From {text(root)}") if len(found) > 1 else "") + gallery(charts) for root, charts in found
    )
    return Section("emergence", "What reinforcement brought out", content, CURVES_NOTE)


def exams_section(pipeline: Pipeline, exams: Sequence[Exam]) -> Section:
    """Charts of each exam, the main family of models and the others apart."""
    content = ""
    for exam in exams:
        for place, part in enumerate(families(pipeline, exam)):
            charts = exam_charts(pipeline, part)
            if charts and not exam.shots:
                others = "" if place == 0 else ": other families"
                content += tag("h3", text(exam.title) + others) + gallery(charts)
    note = "Each model has its colour and mark everywhere. Where few models share a chart, bars are 95 % intervals."
    return Section("exams", "Votes, compute, difficulty, language", content, note)


def funnels_section(pipeline: Pipeline) -> Section:
    """What every rejection sampling kept, filter by filter."""
    content = "".join(
        tag("h3", tag("a", text(stage.name), href=f"#{anchor(stage.name)}")) + _funnel(stage.funnel)
        for stage in pipeline.makers
        if stage.funnel
    )
    return Section("funnels", "What rejection sampling kept", content)


def stages_section(pipeline: Pipeline) -> Section:
    """Each stage with what it came from, its curves, its departures from a preset, and its options."""
    parts = "".join(_stage(pipeline, stage) for stage in pipeline.makers)
    return Section("stages", "Stage by stage", parts, CURVES_NOTE)


def gallery(charts: Sequence[Chart]) -> str:
    """Charts side by side, as many as the page is wide."""
    return tag("div", "".join(map(figure, charts)), class_="gallery") if charts else ""


def _stage(pipeline: Pipeline, stage: Reading) -> str:
    kind = kind_of(stage)
    title = tag(
        "h3", text(stage.name) + " " + tag("span", text(stage.type), class_=f"kind k-{kind}", title=KINDS[kind])
    )
    facts = [_sources(pipeline, stage), f"fingerprint {text(stage.fingerprint[:SHORT_FINGERPRINT])}"]
    about = tag("p", " · ".join(fact for fact in facts if fact), class_="note")
    drawn = gallery(curves(pipeline, stage)) + heat_figures(stage)
    body = about + _results(stage) + drawn + _deviations(stage) + _options(stage)
    return tag("section", title + body, id=anchor(stage.name), class_="stage")


def _sources(pipeline: Pipeline, stage: Reading) -> str:
    """What the stage was made from, as links to it."""
    links = {link.source: link.kind for link in pipeline.links if link.target == stage.name}
    names = {**LINKS, "weights": "sampled from"} if kind_of(stage) == "data" else LINKS
    told = [f"{names[kind]} {tag('a', text(source), href=f'#{anchor(source)}')}" for source, kind in links.items()]
    for option in ("policy", "task"):
        named = stage.options.get(option)
        if isinstance(named, str) and named not in links:
            told.append(f"{option} {text(named)}")
    earlier = [
        name
        for name, fingerprint in stage.parents.items()
        if (now := pipeline.stage(name)) and now.fingerprint != fingerprint
    ]
    if earlier:
        told.append(tag("b", f"made from an earlier {text(', '.join(earlier))}, not the one on this page"))
    return " · ".join(told)


def _results(stage: Reading) -> str:
    """The first numbers of a stage's result, and the rest to be opened."""
    # That nothing failed is no news.
    ordered = sorted(stage.metrics.items(), key=lambda item: item[0].endswith(("/timeout", "/error")) and not item[1])
    cells = [(name, _measure(name, value)) for name, value in ordered]
    first = "".join(tag("div", tag("dt", text(name)) + tag("dd", value)) for name, value in cells[:FIRST_RESULTS])
    rest = table(["result", "value"], [[text(name), value] for name, value in cells[FIRST_RESULTS:]])
    more = tag("details", tag("summary", f"{len(cells) - FIRST_RESULTS} more results") + rest)
    return (tag("dl", first, class_="facts") if cells else "") + (more if len(cells) > FIRST_RESULTS else "")


def _deviations(stage: Reading) -> str:
    """What the run changes from its preset."""
    rows = [
        [tag("code", text(row.get("option"))), _cell(row.get("preset")), _cell(row.get("run"))]
        for row in stage.deviations
    ]
    if not rows:
        return ""
    title = f"Changed from the preset {stage.preset}" if stage.preset else "Changed from the preset"
    return tag("h4", text(title)) + table(["option", "preset", "this run"], rows)


def _options(stage: Reading) -> str:
    if not stage.options:
        return ""
    rows = [[tag("code", text(name)), _cell(value)] for name, value in list(stage.options.items())[:MOST_OPTIONS]]
    return tag("details", tag("summary", "options") + table(["option", "value"], rows))


def _funnel(steps: Sequence[Row]) -> str:
    """A bar for each step: what is left, and what the step took away, of all there was of its unit."""
    most: dict[str, float] = {}
    for step in steps:
        most[_unit(step)] = max(most.get(_unit(step), 0.0), _count(step, "kept") + _count(step, "removed"))
    rows = []
    for step in steps:
        kept, removed, all_of_it = _count(step, "kept"), _count(step, "removed"), most[_unit(step)] or 1.0
        parts = (("kept", kept), ("removed", removed))
        bar = "".join(
            tag("span", "", class_=name, style=f"width:{100 * part / all_of_it:.2f}%") for name, part in parts
        )
        name = text(str(step.get("step", "")).replace("_", " "))
        counts = [f"{kept:,.0f}", f"{removed:,.0f}" if removed else "–", percent(kept / all_of_it), text(_unit(step))]
        rows.append([name, tag("div", bar, class_="bar"), *counts])
    return table(["step", "", "kept", "removed", "of all", ""], rows, class_="funnel")


def _unit(step: Row) -> str:
    return str(step.get("unit") or "")


def _count(step: Row, name: str) -> float:
    count = step.get(name)
    return max(0.0, float(count)) if is_number(count) else 0.0


def _measure(name: str, value: float) -> str:
    is_share = name.startswith(("pass@", "cons@")) or name.endswith(("_rate", "_share", "accuracy", "_consistency"))
    return percent(value) if is_share and 0 <= value <= 1 and name != "reflection_rate" else number(value)


def _cell(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{text(name)}: {_cell(item)}" for name, item in list(value.items())[:MOST_OPTIONS]) or "–"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(item) for item in value[:MOST_OPTIONS]) or "–"
    return "–" if value is None else number(value) if isinstance(value, float) and is_number(value) else text(value)
