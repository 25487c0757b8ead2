"""What of an evaluation must not be trained on, and how a text is searched for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from ponder_tasks.general import general_rows
from ponder_tasks.tokens import SIGNS, is_number, ngrams
from ponder_tasks.wording import Common, Row, common_wording, telling_rows, trimmed, without_wording

SHORTEST_SUM: Final = 3
SHORTEST_PIECE: Final = 5
"""Tokens that a problem without its wording must have to be looked for without it: less is in many texts."""


class Watched:
    """N-grams that count wherever they stand, and short problems that count where they stand whole."""

    def __init__(self, ngram: int) -> None:
        self._ngram = ngram
        self._rows: dict[Row, bool] = {}
        """Each with whether it is a whole problem."""
        self._lengths: dict[int, dict[Row, set[int]]] = {}
        """By the length of their beginnings, by their beginnings: the lengths of the rows that begin so."""

    def add_task(self, problems: Iterable[Row], familiar: Sequence[Row] = (), *, ignore_common: bool) -> None:
        """Watch for the problems of a task; with `ignore_common` not for what they, or the `familiar` texts, have in common."""
        different = list(dict.fromkeys(problems))
        common = common_wording(different, familiar, self._ngram) if ignore_common else Common()
        cut = [without_wording(problem, common) for problem in different]
        telling = [{row for piece in pieces for row in telling_rows(piece, self._ngram)} for pieces in cut]
        general = general_rows(telling, familiar) if ignore_common else set()
        for problem, pieces, rows in zip(different, cut, telling, strict=True):
            rows -= general
            for row in rows:
                self._add(row, is_whole=False)
            if not rows:
                is_enough = len(pieces) == 1 and _is_enough(pieces[0], problem)
                self._add(pieces[0] if is_enough else trimmed(problem), is_whole=True)

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


def _is_enough(piece: Row, problem: Row) -> bool:
    """Whether a piece says what the problem is, and is found in it."""
    shortest = SHORTEST_SUM if SIGNS.intersection(piece) else SHORTEST_PIECE
    start = _place(piece, problem)
    return len(piece) >= shortest and _stands_alone(problem, start, start + len(piece))


def _place(piece: Row, problem: Row) -> int:
    # As text: comparing windows takes quadratic time.
    inside, whole = (f" {' '.join(row)} " for row in (piece, problem))
    return whole[: whole.index(inside)].count(" ")


def _stands_alone(said: Row, start: int, end: int) -> bool:
    """Whether no longer sum goes on to the left or to the right: 1 + 2 is not asked by 1 + 2 + 3."""
    before, after = said[max(start - 1, 0) : start], said[end : end + 1]
    goes_on_left = is_number(said[start]) and bool(SIGNS.intersection(before))
    goes_on_right = is_number(said[end - 1]) and bool(SIGNS.intersection(after))
    return not (goes_on_left or goes_on_right)
