"""Paired statistics over problems: is one model better than another on the same questions, or was it luck?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import numpy

from ponder_evaluation.estimates import TINY, Z_95

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_EXACT: Final = 14
"""Up to this many pairs that differ all ways to flip their signs are counted: at most 16,384."""
FLIPS: Final = 20_000
"""Above it so many random ways."""
SEED: Final = 20_250_122
_FLIPS_AT_ONCE: Final = 2_000

Key = TypeVar("Key")
Numbers: TypeAlias = "NDArray[numpy.floating[Any]]"


def paired_interval(differences: Sequence[float], *, is_share: bool) -> tuple[float, float] | None:
    """The 95 % interval of the mean difference: normal, over problems, with the spread of the problems' own differences.

    Where all problems differ by the same amount there is no spread: for shares, whose differences lie in [-1, 1], the interval
    is then as wide as Wilson's for an event that none of so many problems showed; for others nothing can be told (None).
    """
    number, mean = len(differences), fmean(differences)
    if max(differences) - min(differences) > TINY:
        half = Z_95 * stdev(differences) / math.sqrt(number)
    elif is_share:
        half = Z_95**2 / (number + Z_95**2)
    else:
        return None
    bound = 1.0 if is_share else math.inf
    return max(-bound, mean - half), min(bound, mean + half)


def sign_flip_p_value(differences: Sequence[float]) -> float:
    """The two-sided p-value of a paired permutation test: how often chance alone gives a mean as far from 0.

    If two models were alike, each problem's difference would as well have had the other sign (Fisher 1935). Problems without a
    difference say nothing. With few others all ways to flip the signs are counted, which is exact; with many, a fixed
    number of them drawn with a fixed seed, the observed one included, so that p is never 0.
    """
    moved = numpy.array([difference for difference in differences if abs(difference) > TINY])
    if not len(moved):
        return 1.0
    observed = abs(float(moved.sum())) - TINY * float(numpy.abs(moved).sum())
    if len(moved) <= MOST_EXACT:
        return _share_as_far(_all_signs(len(moved)) @ moved, observed)
    generator = numpy.random.Generator(numpy.random.PCG64(SEED))
    as_far = 0
    for _ in range(FLIPS // _FLIPS_AT_ONCE):
        signs = generator.integers(0, 2, size=(_FLIPS_AT_ONCE, len(moved)), dtype=numpy.int8) * 2.0 - 1.0
        as_far += int((numpy.abs(signs @ moved) >= observed).sum())
    return (as_far + 1) / (FLIPS + 1)


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """p-values corrected for how many questions were asked at once (Holm 1979): the chance of even one false alarm."""
    adjusted: dict[Key, float] = {}
    highest = 0.0
    for rank, key in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[key]))
        adjusted[key] = highest
    return {key: adjusted[key] for key in p_values}


def _all_signs(number: int) -> Numbers:
    """[2^number, number] of -1 and 1."""
    ways = numpy.arange(2**number)[:, None]
    return ((ways >> numpy.arange(number)) & 1) * 2.0 - 1.0


def _share_as_far(sums: Numbers, observed: float) -> float:
    return float((numpy.abs(sums) >= observed).mean())
