"""The stage `report`: one page that stands alone, and its main figures as pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from ponder import StageResult
from ponder_evaluation import sections
from ponder_evaluation.answers import before_and_after, over_steps
from ponder_evaluation.charts import png
from ponder_evaluation.figures import comparisons, curves
from ponder_evaluation.markup import tag, text
from ponder_evaluation.readings import Reading, read_stage

if TYPE_CHECKING:
    from ponder.context import StageContext
    from ponder_evaluation import ReportConfig

LENGTH_NOTE = "Each point is a difficulty: the mean length of its responses, and the share of them that are right."
CURVES_NOTE = "Thin lines are single steps, thick ones a moving mean."


class ReportStage:
    """Reads the stages before it and writes `report.html` and `figures/*.png`."""

    def __init__(self, config: ReportConfig) -> None:
        self._config = config

    def run(self, context: StageContext) -> StageResult:
        """See `Stage`."""
        stages = [read_stage(context.stage(name)) for name in self._config.stages]
        page = context.directory / "report.html"
        page.write_text(render(self._config.title or context.recipe_name, stages), encoding="utf-8")
        for path in [page, *draw_figures(stages, context.directory / "figures")]:
            context.artifact(path)
        return StageResult()


def render(title: str, stages: Sequence[Reading]) -> str:
    """The page about these stages, self-contained and without scripts."""
    evaluations = [stage for stage in stages if stage.is_evaluation]
    body = [
        tag("h1", text(title)),
        tag("p", _lineage(stages), class_="note"),
        sections.headline(evaluations),
        sections.comparison(evaluations),
        sections.chain(stages),
        *(sections.gallery(f"{stage.name}, step by step", curves(stage), CURVES_NOTE) for stage in stages),
        sections.gallery("Accuracy, length and difficulty", comparisons(evaluations), LENGTH_NOTE),
        over_steps(stages),
        before_and_after(evaluations),
    ]
    return _document(text(title), "".join(body))


def draw_figures(stages: Sequence[Reading], directory: Path) -> list[Path]:
    """PNG files of the curves of each training stage and of the comparison of the evaluations."""
    sheets = {f"curves_{re.sub(r'[^A-Za-z0-9_-]', '_', stage.name)}": curves(stage) for stage in stages}
    sheets["accuracy_and_length"] = comparisons([stage for stage in stages if stage.is_evaluation])
    directory.mkdir(exist_ok=True)
    paths = []
    for name, charts in sheets.items():
        if charts:
            paths.append(directory / f"{name}.png")
            png(charts, paths[-1])
    return paths


def _lineage(stages: Sequence[Reading]) -> str:
    """How the last policy came about, from the one it descends from."""
    trained = [stage for stage in stages if stage.options.get("policy") and not stage.is_evaluation]
    if not trained:
        return "Nothing was trained in this run." if stages else "This run has no stages yet."
    steps = [f"{text(stage.name)} ({text(stage.type)} on {text(stage.options.get('task', '?'))})" for stage in trained]
    return " → ".join([text(trained[0].subject), *steps])


def _document(title: str, body: str) -> str:
    style = files("ponder_evaluation").joinpath("page.css").read_text(encoding="utf-8")
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{style}</style>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body><main>{body}</main></body></html>\n'
