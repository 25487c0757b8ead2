"""The sections that show what models wrote: all models on the same problem, and one model at several steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Final

from ponder_evaluation.charts import COLOURS
from ponder_evaluation.markup import Section, number, script_data, tag, text
from ponder_evaluation.pipeline import Pipeline
from ponder_evaluation.readings import Reading, Row
from ponder_evaluation.rollouts import Answer, Answers, Problem, as_data

PROBED: Final = 3
MOMENTS: Final = 6
STATIC: Final = 3
"""Problems that the page shows where scripts are off."""
NOTE: Final = (
    "The same problem, answered by every model: the first of its answers, and the first of the other verdict where there is one. "
    "The bar beside an answer goes from red to green with its reward. Arrow keys turn the pages."
)


def browser(pipeline: Pipeline, problems: Sequence[Problem]) -> Section | None:
    """All models side by side; the page's script turns the first problems, which stand there without it, into a browser."""
    if not problems:
        return None
    static = "".join(_problem(pipeline, problem) for problem in problems[:STATIC])
    data = tag("script", script_data(as_data(pipeline, problems)), type="application/json", id="rollouts")
    script = tag("script", files("ponder_evaluation").joinpath("browser.js").read_text(encoding="utf-8"))
    content = tag("div", static, id="browser", tabindex="-1") + data + script
    return Section("answers", "The same problem, all models", content, NOTE)


def over_steps(stages: Sequence[Reading]) -> Section:
    """The same problems answered at several steps of training."""
    content = ""
    for stage in stages:
        blocks = "".join(_probed_problems(stage))
        if blocks:
            # The first one tells the story; the others wait behind their names.
            opened = {} if content else {"open": ""}
            content += tag("details", tag("summary", text(stage.name)) + blocks, **opened)
    return Section("steps", "The same problem at several steps", content)


def _problem(pipeline: Pipeline, problem: Problem) -> str:
    question = tag("pre", text(problem.prompt), class_="prompt")
    reference = tag("p", f"Reference answer: {text(problem.answer)}", class_="note") if problem.answer else ""
    cards = "".join(_answers(pipeline, answers) for answers in problem.models)
    return tag("article", question + reference + tag("div", cards, class_="cards"))


def _answers(pipeline: Pipeline, answers: Answers) -> str:
    colour = pipeline.models[answers.model].colour % COLOURS
    head = tag(
        "p",
        tag("b", text(answers.model), class_=f"m{colour}") + tag("span", f"{answers.right} of {answers.total} right"),
        class_="who",
    )
    return tag("div", head + "".join(map(_answer, answers.shown)), class_="card")


def _answer(answer: Answer) -> str:
    facts = [f"{answer.length} tokens", _verdict(answer.correct)]
    if answer.reward is not None:
        facts.append(f"reward {number(answer.reward)}")
    return tag("p", " · ".join(facts), class_="note") + tag("pre", text(answer.text))


def _probed_problems(stage: Reading) -> Iterator[str]:
    problems: dict[str, list[Row]] = {}
    for row in sorted(stage.probes, key=lambda row: float(row["step"])):
        problems.setdefault(str(row.get("prompt")), []).append(row)
    for rows in list(problems.values())[:PROBED]:
        cards = "".join(_moment(row) for row in _spread(rows, MOMENTS))
        question = tag("pre", text(rows[0].get("prompt")), class_="prompt")
        reference = tag("p", f"Reference answer: {text(rows[0].get('answer'))}", class_="note")
        yield tag("article", question + reference + tag("div", cards, class_="cards"))


def _moment(row: Row) -> str:
    facts = [tag("b", f"step {text(row['step'])}")]
    if row.get("tokens") is not None:
        facts.append(f"{text(row['tokens'])} tokens")
    if isinstance(row.get("score"), int | float):
        facts.append(f"score {number(row['score'])}")
    body = tag("pre", text(row.get("completion") or "(nothing)"))
    return tag("div", tag("p", " · ".join(facts), class_="note") + body, class_="card")


def _spread(rows: Sequence[Row], count: int) -> list[Row]:
    """`count` rows from the first to the last, evenly; all when there are no more."""
    if len(rows) <= count:
        return list(rows)
    return [rows[round(place * (len(rows) - 1) / (count - 1))] for place in range(count)]


def _verdict(is_right: object) -> str:
    return tag("b", "right", class_="right") if is_right else tag("b", "wrong", class_="wrong")
