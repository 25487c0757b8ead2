"""The majority's answer, and how often it is right when fewer votes are counted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from functools import cache
from typing import TypeAlias

Vote: TypeAlias = tuple[Hashable | None, bool]
"""An answer, None for no answer, and whether it is correct."""


def majority_correct(votes: Sequence[Vote]) -> float:
    """The expected correctness of the most frequent answer, ties broken at random.

    All correct answers are one answer, however they are written, because the reward found each equal to the reference.
    No answer is no vote. Without any vote the majority is wrong.
    """
    return majority_curve(votes)[-1]


def majority_curve(votes: Sequence[Vote]) -> tuple[float, ...]:
    """`majority_correct` of 1, 2, ..., all votes: for each number k its exact mean over all choices of k of the votes."""
    correct = sum(is_correct for _, is_correct in votes)
    wrong = Counter(answer for answer, is_correct in votes if not is_correct)
    silent = wrong.pop(None, 0)
    return _curve(correct, tuple(sorted(wrong.values())), silent)


@cache
def _curve(correct: int, others: tuple[int, ...], silent: int) -> tuple[float, ...]:
    """For each k the chance that the correct answer, given `correct` times, wins among k votes drawn without replacement.

    With j of the drawn votes correct, no other answer may be drawn more than j times, and each that is drawn j times shares
    the win. The choices are counted as coefficients of polynomials whose exponent is the number of votes drawn.
    """
    total = correct + sum(others) + silent
    chances = [0.0] * (total + 1)
    for drawn in range(1, correct + 1):
        for ties, choices in enumerate(_choices_below(others, silent, drawn)):
            for size, count in enumerate(choices):
                k = drawn + size
                chances[k] += math.comb(correct, drawn) * count / (math.comb(total, k) * (ties + 1))
    # Rounding may leave 1.0000000000000002.
    return tuple(min(1.0, chance) for chance in chances[1:])


def _choices_below(others: Iterable[int], silent: int, most: int) -> list[list[int]]:
    """[ties][size]: ways to draw `size` votes for other answers, none more than `most` times and `ties` of them just as often."""
    rare = silent + sum(count for count in others if count < most)
    by_ties = [[math.comb(rare, size) for size in range(rare + 1)]]
    for count in others:
        if count >= most:
            fewer = [math.comb(count, times) for times in range(most)]
            as_many = [0] * most + [math.comb(count, most)]
            kept = [_product(ways, fewer) for ways in by_ties]
            tied = [_product(ways, as_many) for ways in by_ties]
            by_ties = [_sum(a, b) for a, b in zip([*kept, []], [[], *tied], strict=True)]
    return by_ties


def _product(left: Sequence[int], right: Sequence[int]) -> list[int]:
    result = [0] * (len(left) + len(right) - 1)
    for place, factor in enumerate(right):
        if factor:
            for offset, value in enumerate(left):
                result[place + offset] += factor * value
    return result


def _sum(left: Sequence[int], right: Sequence[int]) -> list[int]:
    longer, shorter = (left, right) if len(left) >= len(right) else (right, left)
    return [value + (shorter[place] if place < len(shorter) else 0) for place, value in enumerate(longer)]
