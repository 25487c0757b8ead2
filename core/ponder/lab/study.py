"""What scores show of the rewards that gave them: how they are spread, what they go with, whose advantage turns, what looks hacked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import StatisticsError, correlation, fmean, pstdev, quantiles
from typing import Final

from ponder.lab.oddness import oddities
from ponder.lab.saved import Saved, groups_of
from ponder.text import language_share, question_language, reflective_words

BINS: Final = 10
TOTAL: Final = "total"
FEW: Final = 3
"""Pairs of numbers that a correlation needs at least."""

Scores = Mapping[str, Sequence[float | None]]
"""By reward, and for their weighted sum under `total`, a score for each rollout."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """How a reward's scores are spread."""

    reward: str
    scored: int
    unscored: int
    """Abstained, timed out or failed."""
    mean: float
    deviation: float
    """Population standard deviation."""
    low: float
    median: float
    high: float
    histogram: Sequence[int]
    """Counts in ten bins of equal width from low to high."""


@dataclass(frozen=True, slots=True)
class Correlation:
    """Pearson's r of a reward with something else, over the rollouts that have both."""

    reward: str
    other: str
    r: float
    rollouts: int


@dataclass(frozen=True, slots=True)
class Turn:
    """A rollout that was better than its group under one set of scores and worse under the other."""

    place: str
    before: float
    after: float
    """Total minus the group's mean."""
    text: str


@dataclass(frozen=True, slots=True)
class Turns:
    """The advantages that change sign."""

    groups: int
    """Groups of at least two rollouts with both totals."""
    compared: int
    turned: Sequence[Turn]
    """The largest changes first."""
    lost: int
    """Groups with a signal before and none after."""
    gained: int
    """Groups without a signal before, and with one after."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A rollout with a high reward and an odd text."""

    place: str
    total: float
    reasons: Sequence[str]
    text: str


@dataclass(frozen=True, slots=True)
class Study:
    """Everything that was found."""

    rollouts: int
    distributions: Sequence[Distribution]
    correlations: Sequence[Correlation]
    """The strongest first."""
    turns: Turns | None
    """None when there is nothing to compare with, or no group has two rollouts."""
    suspects: Sequence[Suspect]
    """The oddest first."""


def study(saved: Sequence[Saved], scores: Scores, before: Sequence[float | None] | None = None) -> Study:
    """Look at the scores of rollouts; `before` are totals of the same rollouts to compare with."""
    return Study(
        rollouts=len(saved),
        distributions=[made for name, values in scores.items() if (made := distribution(name, values))],
        correlations=sorted(correlations(saved, scores), key=lambda found: -abs(found.r)),
        turns=None if before is None else turns(saved, before, scores[TOTAL]),
        suspects=suspects(saved, scores[TOTAL]),
    )


def distribution(name: str, values: Sequence[float | None]) -> Distribution | None:
    """How scores are spread; None when there are none."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return None
    low, high = known[0], known[-1]
    width = (high - low) / BINS or 1.0
    histogram = [0] * BINS
    for value in known:
        histogram[min(BINS - 1, int((value - low) / width))] += 1
    middle = known[len(known) // 2] if len(known) % 2 else (known[len(known) // 2 - 1] + known[len(known) // 2]) / 2
    return Distribution(
        name, len(known), len(values) - len(known), fmean(known), pstdev(known), low, middle, high, histogram
    )


def correlations(saved: Sequence[Saved], scores: Scores) -> Iterator[Correlation]:
    """Each reward with lengths, languages and second thoughts, and with each other reward."""
    traits = {name: [measure(row) for row in saved] for name, measure in TRAITS.items()}
    names = list(scores)
    for place, name in enumerate(names):
        others = {**traits, **{other: scores[other] for other in names[place + 1 :] if other != TOTAL}}
        for other, values in others.items():
            pairs = [(a, b) for a, b in zip(scores[name], values, strict=True) if a is not None and b is not None]
            r = _pearson(pairs)
            if r is not None:
                yield Correlation(name, other, r, len(pairs))


def turns(saved: Sequence[Saved], before: Sequence[float | None], after: Sequence[float | None]) -> Turns | None:
    """Whose advantage changes sign; None when no group has two rollouts with both totals."""
    found: list[Turn] = []
    groups = compared = lost = gained = 0
    for places in groups_of(saved).values():
        both = [
            (place, old, new)
            for place in places
            if (old := before[place]) is not None and (new := after[place]) is not None
        ]
        if len(both) < 2:
            continue
        groups, compared = groups + 1, compared + len(both)
        old_mean, new_mean = fmean(old for _, old, _ in both), fmean(new for _, _, new in both)
        had, has = _differ([old for _, old, _ in both]), _differ([new for _, _, new in both])
        lost, gained = lost + (had and not has), gained + (has and not had)
        for place, old, new in both:
            one, other = old - old_mean, new - new_mean
            if one * other < 0 and had and has:
                found.append(Turn(saved[place].place, one, other, saved[place].rollout.completion.text))
    if not groups:
        return None
    return Turns(groups, compared, sorted(found, key=lambda turn: -abs(turn.after - turn.before)), lost, gained)


def suspects(saved: Sequence[Saved], totals: Sequence[float | None]) -> list[Suspect]:
    """Rollouts in the upper quarter of totals whose text is odd in some way, the oddest first."""
    known = [total for total in totals if total is not None]
    if not known:
        return []
    bar = quantiles(known, n=4, method="inclusive")[2] if len(known) > 1 else known[0]
    lengths = [len(row.rollout.completion.text) for row in saved]
    found = [
        Suspect(row.place, total, reasons, row.rollout.completion.text)
        for row, total in zip(saved, totals, strict=True)
        if total is not None and total >= bar and (reasons := oddities(row.rollout, lengths))
    ]
    return sorted(found, key=lambda suspect: (-len(suspect.reasons), -suspect.total))


def _tokens(row: Saved) -> float | None:
    return float(row.rollout.completion.length) or None


def _consistency(row: Saved) -> float | None:
    return language_share(row.rollout.completion.text, question_language(row.rollout.example))


TRAITS: Final[Mapping[str, Callable[[Saved], float | None]]] = {
    "tokens": _tokens,
    "characters": lambda row: float(len(row.rollout.completion.text)),
    "language consistency": _consistency,
    "reflective words": lambda row: float(reflective_words(row.rollout.completion.text)),
}


def _pearson(pairs: Sequence[tuple[float, float]]) -> float | None:
    if len(pairs) < FEW:
        return None
    try:
        r = correlation(*zip(*pairs, strict=True))
    except StatisticsError:
        return None
    return r if math.isfinite(r) else None


def _differ(values: Sequence[float]) -> bool:
    return max(values) > min(values)
