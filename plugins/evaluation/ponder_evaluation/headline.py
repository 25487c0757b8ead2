"""What became of the model, in large figures: its first version, the reinforced one, and the last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ponder_evaluation.cells import interval_of, measure, swatch
from ponder_evaluation.exams import Exam
from ponder_evaluation.markup import percent, tag, text
from ponder_evaluation.pipeline import Model, Pipeline
from ponder_evaluation.readings import Reading
from ponder_evaluation.roles import Roles

FACTS: Final = {"format_rate": "format", "language_consistency": "language", "response_length": "tokens"}


def headline(pipeline: Pipeline, roles: Roles, exams: Sequence[Exam]) -> str:
    """A card for each of the models that tell the run in short, by the exam that most of them took."""
    names = _heroes(pipeline, roles)
    plain = [exam for exam in exams if not exam.shots]
    exam = max(plain, key=lambda exam: sum(exam.of(name) is not None for name in names), default=None)
    if exam is None:
        return ""
    others = [other for other in plain if other is not exam]
    cards = (_card(pipeline.models[name], stage, others) for name in names if (stage := exam.of(name)) is not None)
    return tag("div", "".join(cards), class_="heroes")


def _heroes(pipeline: Pipeline, roles: Roles) -> list[str]:
    """Base, zero and r1; or else the first and the last model of the run that have been measured."""
    measured = [name for name, model in pipeline.models.items() if model.evaluations]
    known = [name for name in (roles.base, roles.zero, roles.r1) if name in measured]
    if roles.r1 in known or len(known) > 1:
        return [name for name in known if name is not None]
    return list(dict.fromkeys([*measured[:1], *measured[-1:]]))


def _card(model: Model, stage: Reading, others: Sequence[Exam]) -> str:
    metrics = stage.metrics
    elsewhere = [
        (text(exam.task), percent(other.metrics["pass@1"]))
        for exam in others
        if (other := exam.of(model.name)) is not None
    ]
    facts = [(words, measure(name, metrics[name])) for name, words in FACTS.items() if name in metrics]
    listed = "".join(tag("div", tag("dt", name) + tag("dd", value)) for name, value in [*elsewhere, *facts])
    task = text(stage.options.get("task", "its problems"))
    what = f"pass@1 on {task}" + tag("small", interval_of(stage, "\N{NO-BREAK SPACE}%"))
    return tag(
        "div",
        tag("p", swatch(model) + text(model.name), class_="who")
        + tag("p", percent(metrics["pass@1"]), class_="figure")
        + tag("p", what, class_="what")
        + tag("dl", listed),
        class_="hero",
    )
