"""How models did in an exam against each other: paired differences where problems are shared, plain ones where they are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from ponder_evaluation.comparison import Evaluation, Measure, difference, read_evaluation
from ponder_evaluation.exams import Exam
from ponder_evaluation.readings import Reading

METRICS: Final[Mapping[Measure, str]] = {
    "correct": "pass@1",
    "formatted": "format_rate",
    "readable": "readable_rate",
    "consistency": "language_consistency",
    "length": "response_length",
}
"""The metric of an evaluation that a paired measure is the mean of."""
SURE: Final = 0.05


@dataclass(frozen=True, slots=True)
class Change:
    """From one evaluation to another in one measure."""

    before: float
    after: float
    difference: float
    low: float | None = None
    """The 95 % interval of the difference over the problems that both were asked; None without such problems."""
    high: float | None = None
    p_value: float | None = None

    @property
    def is_clear(self) -> bool:
        """Whether a test says that chance alone is no likely reason for it."""
        return self.p_value is not None and self.p_value < SURE


@dataclass(frozen=True, slots=True)
class Standings:
    """An exam, and what each of its evaluations measured on each problem."""

    exam: Exam
    problems: Mapping[str, Evaluation]

    def change(self, before: str | None, after: str | None, measure: Measure = "correct") -> Change | None:
        """From the model `before` to the model `after`; None when one of them was not measured."""
        one, other = self.exam.of(before), self.exam.of(after)
        if one is None or other is None or one is other:
            return None
        return change_between(one, other, self.problems, self.problems, measure)


def standings_of(exams: Sequence[Exam]) -> list[Standings]:
    """Each exam with what its evaluations kept of every problem."""
    return [Standings(exam, dict(_readable(exam.evaluations))) for exam in exams]


def change_between(
    before: Reading,
    after: Reading,
    problems_before: Mapping[str, Evaluation],
    problems_after: Mapping[str, Evaluation],
    measure: Measure = "correct",
) -> Change | None:
    """From one evaluation to another, paired where both kept their problems; None when one lacks the measure."""
    metric = METRICS[measure]
    if metric not in before.metrics or metric not in after.metrics:
        return None
    values = (before.metrics[metric], after.metrics[metric])
    one, other = problems_before.get(before.name), problems_after.get(after.name)
    pair = difference(one, other, measure) if one and other else None
    if pair is None:
        return Change(*values, values[1] - values[0])
    return Change(*values, pair.difference, pair.low, pair.high, pair.p_value)


def _readable(evaluations: Sequence[Reading]) -> list[tuple[str, Evaluation]]:
    found = []
    for stage in evaluations:
        with suppress(
            KeyError, TypeError, ValueError, ZeroDivisionError
        ):  # a record of another version or another plugin
            evaluation = read_evaluation(stage.name, stage.record)
            if evaluation is not None:
                found.append((stage.name, evaluation))
    return found
