"""The finer parts of an evaluation: each problem, curves over k and over length, and groups of problems."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from ponder_evaluation.estimates import interval, pass_at_k, percentile, share_interval
from ponder_evaluation.samples import Sample
from ponder_evaluation.votes import majority_curve

LIMITS: Final = 20
"""Points of the curve over limits."""
BINS: Final = 5
"""Bins of the curve over lengths."""
LANGUAGE: Final = "language"
"""The group that is told apart by the question's language rather than by metadata."""

Record = dict[str, object]


@dataclass(frozen=True, slots=True)
class Problem:
    """How the samples of one problem fared."""

    problem: int
    key: str
    difficulty: str | None
    groups: Mapping[str, str]
    asked_in: str
    samples: int
    correct: int
    formatted: int
    readable: int
    consistency: float | None
    """Mean share of words in the language asked for, over the samples that have words."""
    length: float
    """Mean tokens."""
    reward: float | None
    """Mean weighted sum of the rewards, over the samples that have one."""


def by_problem(samples: Iterable[Sample]) -> dict[int, list[Sample]]:
    """The samples of each problem, problems in order of first appearance."""
    groups: dict[int, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.problem, []).append(sample)
    return groups


def tally(answers: Sequence[Sample]) -> Problem:
    """What the samples of one problem come to."""
    first = answers[0]
    return Problem(
        problem=first.problem,
        key=first.key,
        difficulty=first.difficulty,
        groups=first.groups,
        asked_in=first.asked_in,
        samples=len(answers),
        correct=sum(sample.correct for sample in answers),
        formatted=sum(sample.formatted for sample in answers),
        readable=sum(sample.readable for sample in answers),
        consistency=_mean(sample.language for sample in answers),
        length=fmean(sample.length for sample in answers),
        reward=_mean(sample.reward for sample in answers),
    )


def curves(samples: Sequence[Sample]) -> dict[str, list[Record]]:
    """pass@k and cons@k over k, pass@1 over limits and over lengths, each point with its 95 % interval over problems."""
    problems = list(by_problem(samples).values())
    counts = doublings(min(len(answers) for answers in problems))
    majorities = [majority_curve([(sample.vote, sample.correct) for sample in answers]) for answers in problems]
    passes = [(len(answers), sum(sample.correct for sample in answers)) for answers in problems]
    return {
        "pass@k": [{"k": k, **_estimate([pass_at_k(*counted, k) for counted in passes])} for k in counts],
        "cons@k": [{"k": k, **_estimate([curve[k - 1] for curve in majorities])} for k in counts],
        "limit": _over_limits(problems),
        "length": _over_lengths(samples),
    }


def doublings(most: int) -> list[int]:
    """1, 2, 4, ... and `most` itself."""
    return sorted({*(2**power for power in range(most.bit_length())), most})


def groups(samples: Sequence[Sample], names: Iterable[str]) -> dict[str, list[Record]]:
    """The main numbers for each value of each group that occurs: of the questions' language, and of what metadata names."""
    found = {}
    for name in dict.fromkeys([LANGUAGE, *names]):
        value_of = _language if name == LANGUAGE else _metadata(name)
        values = sorted({value for sample in samples if (value := value_of(sample)) is not None}, key=natural_order)
        if values:
            found[name] = [_group(value, [s for s in samples if value_of(s) == value]) for value in values]
    return found


def natural_order(value: str) -> tuple[bool, float, str]:
    """A sort key: numbers in numerical order, before words."""
    try:
        return False, float(value), value
    except ValueError:
        return True, 0.0, value


def _over_limits(problems: Sequence[Sequence[Sample]]) -> list[Record]:
    """pass@1 if every response were cut after so many tokens: what is longer would be wrong."""
    longest = max(sample.length for answers in problems for sample in answers)
    rows: list[Record] = []
    for limit in sorted({math.ceil(longest * place / LIMITS) for place in range(1, LIMITS + 1)}):
        means = [fmean(sample.correct and sample.length <= limit for sample in answers) for answers in problems]
        finished = fmean(sample.length <= limit and not sample.truncated for answers in problems for sample in answers)
        rows.append({"tokens": limit, **_estimate(means), "finished": finished})
    return rows


def _over_lengths(samples: Sequence[Sample]) -> list[Record]:
    """pass@1 of short responses and of longer ones, in bins with about as many samples each."""
    lengths = [sample.length for sample in samples]
    edges = [percentile(lengths, 100 * place / BINS) for place in range(1, BINS)]
    bins: dict[int, list[Sample]] = {}
    for sample in samples:
        bins.setdefault(bisect_left(edges, sample.length), []).append(sample)
    return [_bin(bins[place]) for place in sorted(bins)]


def _bin(samples: Sequence[Sample]) -> Record:
    clusters = [(sum(s.correct for s in answers), len(answers)) for answers in by_problem(samples).values()]
    low, high = share_interval(clusters)
    lengths = [sample.length for sample in samples]
    return {
        "from": min(lengths),
        "to": max(lengths),
        "mean": fmean(lengths),
        "samples": len(samples),
        "value": fmean(sample.correct for sample in samples),
        "low": low,
        "high": high,
    }


def _group(value: str, samples: Sequence[Sample]) -> Record:
    means = [fmean(sample.correct for sample in answers) for answers in by_problem(samples).values()]
    low, high = interval(means)
    return {
        "value": value,
        "problems": len(means),
        "samples": len(samples),
        "pass@1": fmean(means),
        "pass@1_low": low,
        "pass@1_high": high,
        "response_length": fmean(sample.length for sample in samples),
        "format_rate": fmean(sample.formatted for sample in samples),
        "language_consistency": _mean(sample.language for sample in samples),
        "readable_rate": fmean(sample.readable for sample in samples),
    }


def _estimate(means: Sequence[float]) -> Record:
    low, high = interval(means)
    return {"value": fmean(means), "low": low, "high": high}


def _language(sample: Sample) -> str | None:
    return sample.asked_in


def _metadata(name: str) -> Callable[[Sample], str | None]:
    return lambda sample: sample.groups.get(name)


def _mean(values: Iterable[float | None]) -> float | None:
    given = [value for value in values if value is not None]
    return fmean(given) if given else None
