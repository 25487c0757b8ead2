"""Estimators over repeated samples: pass@k, confidence intervals over problems, the majority's answer, percentiles."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist, fmean, stdev
from typing import Final

Z_95: Final = NormalDist().inv_cdf(0.975)


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """The chance that at least one of k samples is correct, unbiased: 1 - C(n-c, k) / C(n, k) (Chen et al. 2021).

    Needs 1 <= k <= samples and 0 <= correct <= samples.
    """
    return 1.0 - math.comb(samples - correct, k) / math.comb(samples, k)


def interval(problem_means: Sequence[float]) -> tuple[float, float]:
    """The 95 % confidence interval of the mean over problems, within [0, 1].

    Problems are the clusters: the samples of one problem are not independent, so the standard error is that of the problems'
    means, and the interval is the normal approximation. Where all problems have the same mean there is no spread to
    measure, and Wilson's interval is taken, with a problem for an observation.
    """
    mean = fmean(problem_means)
    if max(problem_means) == min(problem_means):
        return _wilson(mean, len(problem_means))
    half = Z_95 * stdev(problem_means) / math.sqrt(len(problem_means))
    return max(0.0, mean - half), min(1.0, mean + half)


def majority_correct(votes: Sequence[tuple[Hashable | None, bool]]) -> float:
    """The expected correctness of the most frequent answer, ties broken at random.

    A vote is (answer, is it correct); None for an answer is no vote. All correct answers are one answer, however they are
    written, because the reward found each equal to the reference. Without any vote the majority is wrong.
    """
    counts: dict[tuple[Hashable, bool], int] = {}
    for answer, is_correct in votes:
        if is_correct or answer is not None:
            key = (None, True) if is_correct else (answer, False)
            counts[key] = counts.get(key, 0) + 1
    if not counts:
        return 0.0
    most = max(counts.values())
    winners = [is_correct for (_, is_correct), count in counts.items() if count == most]
    return fmean(winners)


def percentile(values: Sequence[float], percent: float) -> float:
    """The percentile with linear interpolation between the two values around it."""
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def _wilson(share: float, count: int) -> tuple[float, float]:
    squared = Z_95**2 / count
    centre = (share + squared / 2) / (1 + squared)
    half = Z_95 * math.sqrt(share * (1 - share) / count + squared / (4 * count)) / (1 + squared)
    return max(0.0, centre - half), min(1.0, centre + half)
