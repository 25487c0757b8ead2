"""Several models on the same problems: their means in one table, and paired differences between any two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from statistics import fmean
from typing import Any, Final, Literal, TypeAlias

from ponder_evaluation.estimates import interval
from ponder_evaluation.significance import holm, paired_interval, sign_flip_p_value

Measure: TypeAlias = Literal["correct", "formatted", "readable", "consistency", "length"]

LABELS: Final[Mapping[Measure, str]] = {
    "correct": "pass@1",
    "formatted": "in the format",
    "readable": "readable",
    "consistency": "words in the language",
    "length": "tokens per response",
}
MEASURES: Final[tuple[Measure, ...]] = tuple(LABELS)
SAME_PROBLEMS: Final = 0.5
"""Evaluations belong together when they share at least this part of the smaller one's problems."""

Measured: TypeAlias = Mapping[Measure, float | None]
"""The means of one problem's samples; None where no sample could be measured."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation measured on each problem."""

    name: str
    """The stage."""
    subject: str
    """The policy it is about."""
    task: str
    samples: int
    """For each problem."""
    problems: Mapping[str, Measured]
    """By the problem's key."""
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over problems, and its 95 % interval where one can be given."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model's own numbers."""

    name: str
    subject: str
    problems: int
    estimates: Mapping[Measure, Estimate]


@dataclass(frozen=True, slots=True)
class Difference:
    """The second model minus the first, problem by problem."""

    first: str
    second: str
    measure: Measure
    problems: int
    """Problems that both were asked and that could be measured in both."""
    difference: float
    low: float | None
    high: float | None
    p_value: float
    """Two-sided, of this pair alone."""
    p_adjusted: float
    """The same for all pairs of this measure at once (Holm)."""
    better: int
    """Problems in which the second model's value is higher."""
    worse: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """A table of models and the differences between any two, the later minus the earlier."""

    models: tuple[ModelRow, ...]
    pairs: tuple[Difference, ...]


def read_evaluation(name: str, record: Mapping[str, Any]) -> Evaluation | None:
    """The evaluation in the content of an `evaluation.json`; None for one that does not know its problems by keys."""
    rows = record.get("problems") or []
    if not all(isinstance(row, Mapping) and "key" in row for row in rows) or not rows:
        return None
    options = record.get("options", {})
    by_key: dict[str, list[Measured]] = {}
    for row in rows:
        by_key.setdefault(row["key"], []).append(_measured(row))
    problems = {key: _together(found) for key, found in by_key.items()}
    subject, task = str(options.get("policy") or name), str(options.get("task", ""))
    return Evaluation(name, subject, task, int(rows[0]["samples"]), problems, record.get("metrics", {}))


def comparable(evaluations: Sequence[Evaluation]) -> list[list[Evaluation]]:
    """The evaluations in groups that were asked the same problems, or nearly; a group of one has nobody to compare with."""
    groups: list[list[Evaluation]] = []
    for evaluation in evaluations:
        group = next((group for group in groups if _are_alike(group[0], evaluation)), None)
        if group is None:
            groups.append([evaluation])
        else:
            group.append(evaluation)
    return groups


def compare(evaluations: Sequence[Evaluation]) -> Comparison:
    """All models of a group, and each pair of them over the problems they share.

    The p-values are those of a paired sign-flip test over problems; see `significance`.
    """
    models = tuple(_row(evaluation) for evaluation in evaluations)
    pairs: list[Difference] = []
    for measure in MEASURES:
        pairs += _corrected(list(_differences(evaluations, measure)))
    return Comparison(models, tuple(pairs))


def difference(first: Evaluation, second: Evaluation, measure: Measure) -> Difference | None:
    """The second minus the first; None when they share no problem that can be measured in both."""
    both = [
        (before, after)
        for key in first.problems
        if key in second.problems
        and (before := first.problems[key][measure]) is not None
        and (after := second.problems[key][measure]) is not None
    ]
    if not both:
        return None
    changes = [after - before for before, after in both]
    low, high = paired_interval(changes, is_share=measure != "length") or (None, None)
    return Difference(
        first=first.name,
        second=second.name,
        measure=measure,
        problems=len(changes),
        difference=fmean(changes),
        low=low,
        high=high,
        p_value=(p_value := sign_flip_p_value(changes)),
        p_adjusted=p_value,
        better=sum(change > 0 for change in changes),
        worse=sum(change < 0 for change in changes),
    )


def as_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain data, for `comparison.json`."""
    return asdict(comparison)


def _differences(evaluations: Sequence[Evaluation], measure: Measure) -> Iterator[Difference]:
    for first, second in combinations(evaluations, 2):
        found = difference(first, second, measure)
        if found is not None:
            yield found


def _corrected(differences: Sequence[Difference]) -> list[Difference]:
    adjusted = holm({(found.first, found.second): found.p_value for found in differences})
    return [_replaced(found, adjusted[found.first, found.second]) for found in differences]


def _replaced(found: Difference, p_adjusted: float) -> Difference:
    return Difference(**{**asdict(found), "p_adjusted": p_adjusted})


def _row(evaluation: Evaluation) -> ModelRow:
    estimates: dict[Measure, Estimate] = {}
    for measure in MEASURES:
        values = [value for row in evaluation.problems.values() if (value := row[measure]) is not None]
        if values:
            estimates[measure] = _estimate(values, is_share=measure != "length")
    return ModelRow(evaluation.name, evaluation.subject, len(evaluation.problems), estimates)


def _estimate(values: Sequence[float], *, is_share: bool) -> Estimate:
    mean = fmean(values)
    if is_share:
        return Estimate(mean, *interval(values))
    low, high = paired_interval(values, is_share=False) or (None, None)
    return Estimate(mean, low, high)


def _measured(row: Mapping[str, Any]) -> Measured:
    samples = row["samples"]
    return {
        "correct": row["correct"] / samples,
        "formatted": row["formatted"] / samples,
        "readable": row["readable"] / samples,
        "consistency": row["consistency"],
        "length": row["length"],
    }


def _together(rows: Sequence[Measured]) -> Measured:
    """The mean of a problem that a task holds several times."""
    if len(rows) == 1:
        return rows[0]
    merged: dict[Measure, float | None] = {}
    for measure in MEASURES:
        values = [value for row in rows if (value := row[measure]) is not None]
        merged[measure] = fmean(values) if values else None
    return merged


def _are_alike(one: Evaluation, other: Evaluation) -> bool:
    shared = len(one.problems.keys() & other.problems.keys())
    return shared >= SAME_PROBLEMS * min(len(one.problems), len(other.problems))
