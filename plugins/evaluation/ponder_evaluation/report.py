"""The stage `report`: one page that stands alone, and its main figures as pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ponder import StageResult
from ponder_evaluation import answers, paper, scoreboard, sections
from ponder_evaluation.charts import Chart
from ponder_evaluation.claims import Findings, claims_section, statements_of
from ponder_evaluation.distillation import compute_table
from ponder_evaluation.exams import exam_charts, exams_of, families
from ponder_evaluation.figures import curves, emergence
from ponder_evaluation.headline import headline
from ponder_evaluation.long_context import context_section, perplexity_charts
from ponder_evaluation.markup import Section, tag, text
from ponder_evaluation.pictures import standalone
from ponder_evaluation.pipeline import Pipeline, make_pipeline
from ponder_evaluation.published import PROMPT_SENSITIVITY
from ponder_evaluation.readings import read_stage
from ponder_evaluation.roles import roles_of
from ponder_evaluation.rollouts import sample_problems
from ponder_evaluation.standings import standings_of

if TYPE_CHECKING:
    from ponder.context import FinishedStage, StageContext
    from ponder_evaluation import ReportConfig

ARROW_HEAD: Final = (
    '<svg width="0" height="0" aria-hidden="true" style="position:absolute"><defs><marker id="head" viewBox="0 0 8 8" refX="5" refY="4" '
    'markerWidth="7" markerHeight="7" orient="auto-start-reverse"><path d="M0 0.5L7 4L0 7.5Z"/></marker></defs></svg>'
)


class ReportStage:
    """Reads the stages before it and writes `report.html` and `figures/*.svg`."""

    def __init__(self, config: ReportConfig) -> None:
        self._config = config

    def run(self, context: StageContext) -> StageResult:
        """See `Stage`."""
        findings = read([context.stage(name) for name in self._config.stages])
        page = context.directory / "report.html"
        page.write_text(render(self._config.title or context.recipe_name, findings), encoding="utf-8")
        for path in [page, *draw_figures(findings, context.directory / "figures")]:
            context.artifact(path)
        return StageResult()


def read(stages: Sequence[FinishedStage]) -> Findings:
    """What these stages left, put in order."""
    pipeline = make_pipeline([read_stage(stage) for stage in stages])
    return Findings(pipeline, roles_of(pipeline), standings_of(exams_of(pipeline)), compute_table(stages))


def render(title: str, findings: Findings) -> str:
    """The page about a run, self-contained; its only script turns the pages of the answers."""
    pipeline, standings = findings.pipeline, findings.exams
    exams = [found.exam for found in standings]
    parts = (
        sections.pipeline_section(pipeline),
        claims_section(statements_of(findings)),
        scoreboard.comparison(pipeline, standings),
        paper.stages_section(findings),
        paper.distillation_section(findings),
        sections.emergence_section(pipeline),
        sections.exams_section(pipeline, exams),
        scoreboard.prompt_sensitivity(pipeline, standings, PROMPT_SENSITIVITY),
        answers.browser(pipeline, sample_problems(exams)),
        answers.over_steps(pipeline.makers),
        sections.funnels_section(pipeline),
        context_section(pipeline),
        sections.stages_section(pipeline),
    )
    present = [part for part in parts if part is not None and part.content]
    lead = tag("p", _summary(pipeline), class_="lead")
    head = tag("header", tag("h1", text(title)) + lead + headline(pipeline, findings.roles, exams))
    return _document(text(title), ARROW_HEAD + head + _contents(present) + "".join(part.markup for part in present))


def draw_figures(findings: Findings, directory: Path) -> list[Path]:
    """SVG files: the curves of each training stage, what reinforcement brought out, and the exams."""
    pipeline = findings.pipeline
    sheets: dict[str, Sequence[Chart]] = {f"curves_{stage.name}": curves(pipeline, stage) for stage in pipeline.makers}
    sheets |= {f"context_{stage.name}": list(perplexity_charts(stage)) for stage in pipeline.makers}
    sheets |= {f"emergence_{root}": charts for root, charts in emergence(pipeline)}
    for exam in (found.exam for found in findings.exams):
        for place, part in enumerate(families(pipeline, exam)):
            name = f"exam_{exam.task}{f'_{exam.shots}_shots' if exam.shots else ''}{'' if place == 0 else '_others'}"
            sheets[name] = exam_charts(pipeline, part)
    directory.mkdir(exist_ok=True)
    paths = []
    for name, charts in sheets.items():
        if charts:
            paths.append(directory / f"{re.sub(r'[^A-Za-z0-9_-]', '_', name)}.svg")
            paths[-1].write_text(standalone(charts), encoding="utf-8")
    return paths


def _summary(pipeline: Pipeline) -> str:
    if not pipeline.stages:
        return "This run has no stages yet."
    made = len(pipeline.makers)
    trained = sum(stage.makes_policy for stage in pipeline.makers)
    exams = len(pipeline.evaluations)
    counts = [
        _count(made, "stage"),
        _count(trained, "trained model") if trained else "nothing trained",
        _count(exams, "evaluation"),
    ]
    return ", ".join(counts)


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _contents(parts: Sequence[Section]) -> str:
    """Links to the sections that the page has."""
    links = "".join(tag("li", tag("a", text(part.id.replace("-", " ")), href=f"#{part.id}")) for part in parts)
    return tag("nav", tag("ul", links), aria_label="contents") if len(parts) > 1 else ""


def _document(title: str, body: str) -> str:
    package = files("ponder_evaluation")
    style = "".join(package.joinpath(name).read_text(encoding="utf-8") for name in ("charts.css", "page.css"))
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{style}</style>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body><main>{body}</main></body></html>\n'
