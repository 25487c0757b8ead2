"""Documents packed into rows of equal length, hardly any of it padding, in an order that is a function of the seed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

from ponder.randomness import permutation

BLOCK = 512
"""Documents that are tokenized, shuffled and packed together."""

Documents = Callable[[], Iterable[str]]
Tokenize = Callable[[list[str]], list[list[int]]]


def packed_rows(documents: Documents, tokenize: Tokenize, length: int, seed: int) -> Iterator[list[list[int]]]:
    """An endless stream of rows, each a list of whole documents (token ids) of at most `length` tokens in all.

    Documents are shuffled within blocks, anew in each epoch; one that is longer than a row is cut into several.
    """
    for epoch, number, tokens in _shuffled_blocks(documents, tokenize, seed):
        rows = pack([piece for document in tokens for piece in _pieces(document, length)], length)
        yield from (rows[place] for place in permutation(len(rows), seed, "rows", epoch, number))


def running_rows(documents: Documents, tokenize: Tokenize, length: int, seed: int) -> Iterator[list[list[int]]]:
    """An endless stream of full rows: documents one after another, shuffled likewise, cut where a row ends.

    For rows that are much longer than documents, where packing would leave the last row of a block empty and put the
    longest documents first: here what stands at a position does not depend on the position.
    """
    row: list[list[int]] = []
    room = length
    for _, _, tokens in _shuffled_blocks(documents, tokenize, seed):
        for document in tokens:
            rest = document
            while rest:
                row.append(rest[:room])
                rest, room = rest[room:], room - len(row[-1])
                if not room:
                    yield row
                    row, room = [], length


def pack(documents: Sequence[list[int]], length: int) -> list[list[list[int]]]:
    """First-fit decreasing: the longest documents first, each into the first row with room for it."""
    rows: list[list[list[int]]] = []
    room: list[int] = []
    for document in sorted(documents, key=len, reverse=True):
        place = next((i for i, free in enumerate(room) if free >= len(document)), None)
        if place is None:
            rows.append([document])
            room.append(length - len(document))
        else:
            rows[place].append(document)
            room[place] -= len(document)
    return rows


def _pieces(document: list[int], length: int) -> Iterator[list[int]]:
    return (document[start : start + length] for start in range(0, len(document), length))


def _shuffled_blocks(documents: Documents, tokenize: Tokenize, seed: int) -> Iterator[tuple[int, int, list[list[int]]]]:
    """(epoch, number, token ids of its documents) of each block, for ever; nothing when there are no documents."""
    for epoch in itertools.count():
        found = False
        for number, block in enumerate(_blocks(documents(), BLOCK)):
            found = True
            order = permutation(len(block), seed, "documents", epoch, number)
            yield epoch, number, tokenize([block[place] for place in order])
        if not found:
            return


def _blocks(documents: Iterable[str], size: int) -> Iterator[list[str]]:
    iterator = iter(documents)
    while block := list(itertools.islice(iterator, size)):
        yield block
