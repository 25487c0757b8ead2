"""Estimators over repeated samples: pass@k, confidence intervals over problems, percentiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev
from typing import Final

Z_95: Final = NormalDist().inv_cdf(0.975)
TINY: Final = 1e-12


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
    if max(problem_means) - min(problem_means) < TINY:
        return _wilson(mean, len(problem_means))
    half = Z_95 * stdev(problem_means) / math.sqrt(len(problem_means))
    return max(0.0, mean - half), min(1.0, mean + half)


def share_interval(clusters: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """The 95 % confidence interval of sum / count over clusters of (sum, count), within [0, 1].

    For shares of samples of which problems have different numbers; with equal numbers it is `interval` of the means. The
    standard error is that of a ratio of totals over clusters (Cochran 1977, section 6.4).
    """
    total = sum(count for _, count in clusters)
    share = sum(value for value, _ in clusters) / total
    residuals = [value - share * count for value, count in clusters]
    if all(abs(residual) < TINY for residual in residuals) or len(clusters) < 2:
        return _wilson(share, len(clusters))
    number = len(clusters)
    half = Z_95 * math.sqrt(number / (number - 1) * sum(residual**2 for residual in residuals)) / total
    return max(0.0, share - half), min(1.0, share + half)


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
