"""What of an evaluation must not be trained on, and how a text is searched for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final, TypeAlias

from ponder_tasks.tokens import SIGNS, is_number, ngrams

Row: TypeAlias = tuple[str, ...]
"""Tokens that follow each other."""

WORDING: Final = 4
"""Tokens of the n-grams by which the wording that problems have in common is known,"""
WORDING_SHARE: Final = 0.1
"""if more than this share of a task's problems have them,"""
WORDING_PROBLEMS: Final = 5
"""and at least so many. Several wordings may take turns, so it is not most."""
SHORTEST_PIECE: Final = 3
"""Tokens that a problem without its wording must have to be looked for without it: less is in many texts."""


class Watched:
    """N-grams that count wherever they stand, and short problems that count where they stand whole."""

    def __init__(self, ngram: int) -> None:
        self._ngram = ngram
        self._rows: dict[Row, bool] = {}
        """Each with whether it is a whole problem."""
        self._lengths: dict[int, dict[Row, set[int]]] = {}
        """By the length of their beginnings, by their beginnings: the lengths of the rows that begin so."""

    def add_task(self, problems: Iterable[Row], *, ignore_common: bool) -> None:
        """Watch for the problems of a task; with `ignore_common` not for what they have in common."""
        different = list(dict.fromkeys(problems))
        common = _wording(different) if ignore_common else frozenset()
        for problem in different:
            pieces = _pieces(problem, common)
            long = [piece for piece in pieces if len(piece) >= self._ngram]
            for row in (row for piece in long for row in ngrams(piece, self._ngram)):
                self._add(row, is_whole=False)
            if not long:
                is_enough = len(pieces) == 1 and len(pieces[0]) >= SHORTEST_PIECE
                self._add(pieces[0] if is_enough else _trimmed(problem), is_whole=True)

    def found(self, said: Row, *, whole: bool) -> Row | None:
        """The first watched row in a text; with `whole` short problems are looked for too, else n-grams alone."""
        for length, beginnings in self._lengths.items():
            for start, window in enumerate(ngrams(said, length)):
                for row in self._rows_at(said, start, beginnings.get(window, ())):
                    is_whole = self._rows[row]
                    if not is_whole or (whole and _stands_alone(said, start, start + len(row))):
                        return row
        return None

    def _add(self, row: Row, *, is_whole: bool) -> None:
        if not row:
            return
        self._rows[row] = is_whole and self._rows.get(row, True)
        beginning = row[: self._ngram]
        self._lengths.setdefault(len(beginning), {}).setdefault(beginning, set()).add(len(row))

    def _rows_at(self, said: Row, start: int, lengths: Iterable[int]) -> Iterator[Row]:
        rows = (said[start : start + length] for length in sorted(lengths))
        return (row for row in rows if row in self._rows)


def _wording(problems: Sequence[Row]) -> frozenset[Row]:
    """The n-grams of words, numbers not among them, that many problems have."""
    counts = Counter(row for problem in problems for row in set(ngrams(problem, WORDING)))
    least = max(WORDING_PROBLEMS, WORDING_SHARE * len(problems))
    return frozenset(row for row, count in counts.items() if count >= least and not any(map(is_number, row)))


def _pieces(problem: Row, common: frozenset[Row]) -> list[Row]:
    """What is left of a problem when the common wording is cut out."""
    is_common = [False] * len(problem)
    for start, row in enumerate(ngrams(problem, WORDING)):
        if row in common:
            is_common[start : start + WORDING] = [True] * WORDING
    marked = groupby(zip(is_common, problem, strict=True), key=lambda pair: pair[0])
    pieces = [_trimmed(tuple(token for _, token in group)) for common_, group in marked if not common_]
    return [piece for piece in pieces if piece]


def _trimmed(row: Row) -> Row:
    """Without the equals signs at its ends, which ask for the value and belong to no sum."""
    places = [place for place, token in enumerate(row) if token != "="]
    return row[places[0] : places[-1] + 1] if places else ()


def _stands_alone(said: Row, start: int, end: int) -> bool:
    """Whether no longer sum goes on to the left or to the right: 1 + 2 is not asked by 1 + 2 + 3."""
    before, after = said[max(start - 1, 0) : start], said[end : end + 1]
    goes_on_left = is_number(said[start]) and bool(SIGNS.intersection(before))
    goes_on_right = is_number(said[end - 1]) and bool(SIGNS.intersection(after))
    return not (goes_on_left or goes_on_right)
