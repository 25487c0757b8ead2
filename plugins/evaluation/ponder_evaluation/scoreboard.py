"""The sections that say how good each model is: a table for each exam, and what worked examples in the prompt change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from ponder_evaluation.cells import change_cell, measure, model_cell, share_cell, strip_cell
from ponder_evaluation.exams import Exam
from ponder_evaluation.markup import Section, percent, table, tag, text
from ponder_evaluation.pipeline import Pipeline
from ponder_evaluation.readings import Reading, is_number
from ponder_evaluation.standings import Change, Standings, change_between

COLUMNS: Final = {
    "format_rate": "format",
    "readable_rate": "readable",
    "language_consistency": "language",
    "response_length": "tokens",
    "reflection_rate": "reflective words",
}
AGAINST: Final = ("on its start", "on its base")
NOTE: Final = (
    "pass@1 with its 95 % interval, problems as clusters. Differences are in percentage points of pass@1, paired over the problems that "
    "both models were asked, with the p-value of the test; bold where it is below 0.05."
)


def comparison(pipeline: Pipeline, exams: Sequence[Standings]) -> Section:
    """A table for each exam that was taken without worked examples, a row for each model."""
    tables = [
        tag("h3", text(standings.exam.title)) + _conditions(standings.exam) + _table(pipeline, standings)
        for standings in exams
        if not standings.exam.shots
    ]
    return Section("models", "All models", "".join(tables), NOTE)


def prompt_sensitivity(pipeline: Pipeline, exams: Sequence[Standings], note: str) -> Section | None:
    """Each model's accuracy without and with worked examples before the question."""
    rows = []
    for model, standings, change in shot_changes(exams):
        zero, few = percent(change.before), percent(change.after)
        exam = standings.exam
        rows.append([model_cell(pipeline, model), text(exam.task), zero, str(exam.shots), few, change_cell(change)])
    if not rows:
        return None
    head = ["model", "exam", "zero-shot", "examples", "few-shot", "change"]
    return Section("few-shot", "Few-shot against zero-shot", table(head, rows, class_="cards"), note)


def shot_changes(exams: Sequence[Standings]) -> Iterator[tuple[str, Standings, Change]]:
    """For every model measured with worked examples and without, what the examples changed."""
    for few in exams:
        for zero in exams:
            if few.exam.shots and not zero.exam.shots and zero.exam.task == few.exam.task:
                for after in few.exam.evaluations:
                    before = zero.exam.of(after.subject)
                    change = before and change_between(before, after, zero.problems, few.problems)
                    if change:
                        yield after.subject, few, change


def _table(pipeline: Pipeline, standings: Standings) -> str:
    exam = standings.exam
    votes = [
        name
        for name in dict.fromkeys(name for stage in exam.evaluations for name in stage.metrics)
        if name.startswith("cons@")
    ]
    shown = {name: name for name in votes[:1]}
    shown |= {
        name: words for name, words in COLUMNS.items() if any(name in stage.metrics for stage in exam.evaluations)
    }
    changes = [list(_changes(pipeline, standings, stage)) for stage in exam.evaluations]
    against = [(words, cells) for words, cells in zip(AGAINST, zip(*changes, strict=True), strict=True) if any(cells)]
    rows = [
        [
            model_cell(pipeline, stage.subject),
            share_cell(stage),
            strip_cell(pipeline.models[stage.subject], stage),
            *(measure(name, stage.metrics[name]) if name in stage.metrics else "–" for name in shown),
            *(cells[place] for _, cells in against),
        ]
        for place, stage in enumerate(exam.evaluations)
    ]
    head = ["model", "pass@1", "", *shown.values(), *(words for words, _ in against)]
    return table(head, rows, class_="cards models")


def _changes(pipeline: Pipeline, standings: Standings, stage: Reading) -> Iterator[str]:
    """What changed from the model whose weights it began with, and from the base behind that; empty where that is nothing."""
    start, root = _measured_start(pipeline, standings.exam, stage.subject), pipeline.root(stage.subject)
    for name in (start, root if root != start else None):
        change = standings.change(name, stage.subject)
        yield change_cell(change, name) if change else ""


def _measured_start(pipeline: Pipeline, exam: Exam, name: str) -> str | None:
    """What the model's weights began as, or the nearest thing before it that took this exam."""
    seen: set[str] = set()
    start = pipeline.start(name)
    while start is not None and start not in seen and exam.of(start) is None:
        seen.add(start)
        start = pipeline.start(start)
    return start


def _conditions(exam: Exam) -> str:
    """How the models were asked, as far as it was the same for all, and whether they had seen the problems."""
    facts = []
    counts = [len(problems) for stage in exam.evaluations if isinstance(problems := stage.record.get("problems"), list)]
    samples = exam.evaluations[0].options.get("samples")
    if counts:
        number = str(max(counts)) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
        facts.append(f"{number} problems × {text(samples)} samples")
    for option in ("sampler", "format", "language"):
        values = [str(stage.options[option]) for stage in exam.evaluations if option in stage.options]
        if values:
            facts.append(f"{option} {text(' or '.join(dict.fromkeys(values)))}")
    seen = sum(_contaminated(stage) for stage in exam.evaluations)
    if any("contamination" in stage.record for stage in exam.evaluations):
        facts.append(
            f"problems found among what the models had learnt from: {seen}"
            if seen
            else "no problem found among what the models had learnt from"
        )
    return tag("p", " · ".join(facts), class_="note") if facts else ""


def _contaminated(stage: Reading) -> int:
    found = stage.record.get("contamination")
    count = found.get("contaminated") if isinstance(found, Mapping) else 0
    return int(count) if is_number(count) else 0
