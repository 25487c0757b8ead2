"""What of a problem tells it from others: not the wording they have in common, and not ten zeros in a row."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from operator import or_
from typing import Final, TypeAlias

from ponder_tasks.tokens import is_number, ngrams

Row: TypeAlias = tuple[str, ...]
"""Tokens that follow each other."""

WORDING: Final = 4
"""Tokens of the n-grams by which the wording that problems have in common is known,"""
WORDING_SHARE: Final = 0.1
"""if more than this share of a task's problems have them,"""
WORDING_PROBLEMS: Final = 5
"""and at least so many. Several wordings may take turns, so it is not most."""
FIGURES_SHARE: Final = 0.3
"""What is more numbers than words, such as a worked example, is wording in more problems: sums of small numbers are alike."""
FAMILIAR_SHARE: Final = 0.5
"""Of the familiar texts: a single problem may have been copied into many of them."""
TELLING: Final = 3 / 4
"""Share of the information of an n-gram of different tokens that one must have: rows of grids are alike without being copied."""
LONGEST: Final = 8
"""N-grams that a row of little information is prolonged to, doubling each time."""


@dataclass(frozen=True, slots=True)
class Common:
    """The n-grams that problems have in common."""

    words: frozenset[Row] = frozenset()
    """Short ones, of words."""
    rows: frozenset[Row] = frozenset()
    """Ones of full length, whatever they hold."""


def common_wording(problems: Sequence[Row], familiar: Iterable[Row], ngram: int) -> Common:
    """The n-grams that many problems have, or those of full length that most familiar texts have."""
    least = max(WORDING_PROBLEMS, WORDING_SHARE * len(problems))
    words = {row for row in _had_by(problems, WORDING, least) if _is_wording(row)}
    mixed = {row for row in _had_by(problems, ngram, least) if sum(map(_is_figure, row)) <= ngram / 2}
    figures = _had_by(problems, ngram, max(WORDING_PROBLEMS, FIGURES_SHARE * len(problems)))
    rows = mixed | figures | _familiar(problems, familiar, ngram)
    # The others are not looked for by themselves, and without them nothing would be left of an almost empty grid.
    told = {row for row in rows if _information(row) >= _least_information(ngram)}
    return Common(frozenset(words), frozenset(told))


def _is_wording(row: Row) -> bool:
    """Whether a row has no number, and not only symbols."""
    return not any(map(is_number, row)) and not all(map(_is_figure, row))


def _is_figure(token: str) -> bool:
    """Whether a token is no word: a number, a sign or a symbol."""
    return not token[0].isalpha()


def _familiar(problems: Sequence[Row], familiar: Iterable[Row], ngram: int) -> set[Row]:
    """The n-grams of problems that most familiar texts have: that is no copied problem."""
    different = set(familiar)
    asked = {row for problem in problems for row in ngrams(problem, ngram)}
    counts = Counter(row for text in different for row in asked & set(ngrams(text, ngram)))
    least = max(WORDING_PROBLEMS, FAMILIAR_SHARE * len(different))
    return {row for row, count in counts.items() if count >= least}


def _had_by(texts: Iterable[Row], length: int, least: float) -> set[Row]:
    counts = Counter(row for text in texts for row in set(ngrams(text, length)))
    return {row for row, count in counts.items() if count >= least}


def without_wording(problem: Row, common: Common) -> list[Row]:
    """What is left of a problem when the common wording is cut out."""
    is_wording = _covered(problem, common.words)
    is_common = list(map(or_, is_wording, _covered(problem, common.rows)))
    _give_back_figures(problem, is_common, is_wording)
    marked = groupby(zip(is_common, problem, strict=True), key=lambda pair: pair[0])
    pieces = [trimmed(tuple(token for _, token in group)) for common_, group in marked if not common_]
    return [piece for piece in pieces if piece]


def _covered(problem: Row, rows: frozenset[Row]) -> list[bool]:
    """Which places of a problem the rows, all of one length, stand in."""
    is_covered = [False] * len(problem)
    length = len(next(iter(rows), ()))
    for start, row in enumerate(ngrams(problem, length)):
        if row in rows:
            is_covered[start : start + length] = [True] * length
    return is_covered


def _give_back_figures(problem: Row, is_common: list[bool], is_wording: list[bool]) -> None:
    """Take the figures that adjoin a problem's own text out of what is common: they may begin its own sum."""
    for order in (range(len(problem)), range(len(problem) - 1, -1, -1)):
        is_own = False
        for place in order:
            is_loose = _is_figure(problem[place]) and not is_wording[place]
            is_own = not is_common[place] or (is_own and is_loose)
            is_common[place] = not is_own


def telling_rows(piece: Row, ngram: int) -> Iterator[Row]:
    """The n-grams of a piece, those of little information prolonged until they have enough or the piece ends."""
    for start in range(len(piece) - ngram + 1):
        length, least = ngram, _least_information(ngram)
        while start + length <= len(piece) and length <= LONGEST * ngram:
            row = piece[start : start + length]
            if _information(row) >= least:
                yield row
                break
            # Twice as much: grids have many rows, and their cells depend on each other.
            length, least = length * 2, 2 * _least_information(ngram)


# The rows of an empty grid are all the same.
@lru_cache(maxsize=1024)
def _information(row: Row) -> float:
    """Bits in which the tokens of a row tell its places apart: 0 when all are the same."""
    counts = Counter(row).values()
    return math.fsum(count * math.log2(len(row) / count) for count in counts)


def _least_information(ngram: int) -> float:
    return TELLING * ngram * math.log2(ngram)


def trimmed(row: Row) -> Row:
    """Without the equals signs at its ends, which ask for the value and belong to no sum."""
    places = [place for place, token in enumerate(row) if token != "="]
    return row[places[0] : places[-1] + 1] if places else ()
