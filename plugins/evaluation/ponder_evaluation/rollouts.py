"""A sample of what all models answered to the same problems, small enough to stand in the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ponder_evaluation.charts import COLOURS
from ponder_evaluation.exams import Exam
from ponder_evaluation.markup import cut
from ponder_evaluation.pipeline import Pipeline
from ponder_evaluation.readings import Reading, Row, is_number

PROBLEMS: Final = 40
LONGEST_ANSWER: Final = 1200
LONGEST_PROMPT: Final = 600
MOST_CHARACTERS: Final = 2_000_000
"""Of everything together; where it would be more, there are fewer problems."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One response."""

    text: str
    correct: bool
    length: int
    reward: float | None
    sample: int


@dataclass(frozen=True, slots=True)
class Answers:
    """Those of one model to one problem: how many were right, and one or two of them."""

    model: str
    right: int
    total: int
    shown: Sequence[Answer]


@dataclass(frozen=True, slots=True)
class Problem:
    """A question with what every model answered."""

    exam: str
    prompt: str
    answer: str
    difficulty: str
    language: str
    models: Sequence[Answers]


def sample_problems(exams: Sequence[Exam]) -> list[Problem]:
    """Problems of all exams in turn, spread over each: those that most models were asked."""
    plain = [exam for exam in exams if not exam.shots]
    if not plain:
        return []
    found = [_problems(exam, -(-PROBLEMS // len(plain))) for exam in plain]
    turns = [problem for place in range(PROBLEMS) for problems in found for problem in problems[place : place + 1]]
    return list(_within(turns[:PROBLEMS]))


def as_data(pipeline: Pipeline, problems: Sequence[Problem]) -> dict[str, Any]:
    """The problems as the page's script reads them."""
    names = [name for name in pipeline.models if any(answers.model == name for p in problems for answers in p.models)]
    return {
        "models": [{"name": cut(name, 60), "class": f"m{pipeline.models[name].colour % COLOURS}"} for name in names],
        "problems": [
            {
                "exam": problem.exam,
                "prompt": problem.prompt,
                "answer": problem.answer,
                "difficulty": problem.difficulty,
                "language": problem.language,
                "models": [
                    {
                        "model": names.index(answers.model),
                        "right": answers.right,
                        "total": answers.total,
                        "shown": [[a.text, a.correct, a.length, a.reward, a.sample] for a in answers.shown],
                    }
                    for answers in problem.models
                ],
            }
            for problem in problems
        ],
    }


def _problems(exam: Exam, most: int) -> list[Problem]:
    by_model = {stage.subject: _by_problem(stage) for stage in exam.evaluations if stage.samples}
    asked: dict[object, int] = {}
    for problems in by_model.values():
        for key in problems:
            asked[key] = asked.get(key, 0) + 1
    shared = [key for key, count in asked.items() if count == max(asked.values())]
    return [_problem(exam, key, by_model) for key in _spread(shared, most)]


def _problem(exam: Exam, key: object, by_model: Mapping[str, Mapping[object, Sequence[Row]]]) -> Problem:
    rows = {model: problems[key] for model, problems in by_model.items() if key in problems}
    asked = next(iter(rows.values()))[0]
    difficulty, language = asked.get("difficulty"), asked.get("asked_in")
    return Problem(
        exam=cut(exam.task, 80),
        prompt=cut(asked.get("prompt", ""), LONGEST_PROMPT),
        answer="" if asked.get("answer") is None else cut(asked["answer"], LONGEST_PROMPT),
        difficulty="" if difficulty is None else cut(difficulty, 40),
        language=cut(language, 8) if isinstance(language, str) else "",
        models=[_answers(model, found) for model, found in rows.items()],
    )


def _answers(model: str, rows: Sequence[Row]) -> Answers:
    """The first answer, and the first of the other verdict where there is one."""
    first = rows[0]
    other = next((row for row in rows if bool(row["correct"]) != bool(first["correct"])), None)
    shown = [_answer(rows, row) for row in (first, other) if row is not None]
    return Answers(model, sum(bool(row["correct"]) for row in rows), len(rows), shown)


def _answer(rows: Sequence[Row], row: Row) -> Answer:
    reward, sample = row.get("reward"), row.get("sample")
    return Answer(
        cut(row.get("completion") or "(nothing)", LONGEST_ANSWER),
        bool(row["correct"]),
        int(row["length"]),
        round(float(reward), 3) if is_number(reward) else None,
        int(sample) if is_number(sample) else rows.index(row),
    )


def _by_problem(stage: Reading) -> dict[object, list[Row]]:
    found: dict[object, list[Row]] = {}
    for row in stage.samples:
        key = row.get("key")
        found.setdefault(key if isinstance(key, str) else (row["problem"], str(row.get("prompt"))), []).append(row)
    return found


def _spread(keys: Sequence[object], most: int) -> list[object]:
    if len(keys) <= most:
        return list(keys)
    return [keys[place * len(keys) // most] for place in range(most)]


def _within(problems: Sequence[Problem]) -> Iterator[Problem]:
    left = MOST_CHARACTERS
    for problem in problems:
        left -= sum(len(answer.text) for answers in problem.models for answer in answers.shown) + len(problem.prompt)
        if left < 0:
            return
        yield problem
