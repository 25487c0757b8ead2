"""Which n-grams of an evaluation say nothing about any one of its problems, because other texts have them without the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from ponder_tasks.tokens import ngrams
from ponder_tasks.wording import WORDING_PROBLEMS, Row

COPIED_SHARE: Final = 0.5
"""Share of a problem's n-grams from which on a text is a copy of it, however reworded, and proves nothing."""
GENERAL_SHARE: Final = 0.01
"""Share of the familiar texts that a template has: a problem of a well-known exam is quoted by some pages, not by one in a hundred."""


def general_rows(problems: Sequence[AbstractSet[Row]], familiar: Iterable[Row]) -> set[Row]:
    """The n-grams of problems that familiar texts have which are no copies of these problems.

    Five such texts are enough, or one in a hundred where that is more: each holds less than half of any problem that has the n-gram.
    """
    texts = set(familiar)
    asked: dict[Row, list[int]] = {}
    for number, rows in enumerate(problems):
        for row in rows:
            asked.setdefault(row, []).append(number)
    lengths = {len(row) for row in asked}
    counts: Counter[Row] = Counter()
    for text in texts:
        held = [row for length in lengths for row in set(ngrams(text, length)) & asked.keys()]
        shared = Counter(number for row in held for number in asked[row])
        copied = {number for number, count in shared.items() if count >= COPIED_SHARE * len(problems[number])}
        counts.update(row for row in held if copied.isdisjoint(asked[row]))
    least = max(WORDING_PROBLEMS, GENERAL_SHARE * len(texts))
    return {row for row, count in counts.items() if count >= least}
