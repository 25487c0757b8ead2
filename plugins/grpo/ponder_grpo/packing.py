"""Cutting a batch into pieces that fit in memory and hold next to no padding."""

from __future__ import annotations

from collections.abc import Sequence

from ponder_grpo.rows import Row

PADDING_WORTH_A_PASS = 256
"""Padded tokens that cost about as much as one more forward and backward pass."""


def prompt_chunks(rows: Sequence[Row], budget: int) -> list[list[Row]]:
    """The rows, groups whole, in chunks whose padded prompts come to at most `budget` tokens; longest prompts first.

    A prompt that is longer than the budget has a chunk of its own.
    """
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    ordered = sorted(groups.values(), key=lambda group: -len(group[0].prompt))
    pieces = cut([len(group[0].prompt) for group in ordered], budget)
    return [[row for group in piece for row in ordered[group]] for piece in pieces]


def micro_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices of `lengths` in batches of similar length, longest first; see `cut`."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    return [[order[place] for place in batch] for batch in cut([lengths[index] for index in order], budget)]


def cut(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Runs of places in the falling `lengths`: each at most `budget` padded tokens, and cut where padding costs more than a pass."""
    batches: list[list[int]] = []
    padding = 0
    for place, length in enumerate(lengths):
        longest = lengths[batches[-1][0]] if batches else 0
        padding += longest - length
        if not batches or padding > PADDING_WORTH_A_PASS or (len(batches[-1]) + 1) * longest > budget:
            batches.append([])
            padding = 0
        batches[-1].append(place)
    return batches
