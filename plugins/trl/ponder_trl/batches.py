"""Which conversations a step learns from, and how they lie in its tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ponder.randomness import permutation
from ponder_trl.conversations import Conversation
from ponder_trl.step_trainer import StepBatch

IGNORED = -100

Row = Sequence[Conversation]
"""Conversations that lie one behind the other."""


@dataclass(frozen=True, kw_only=True)
class Batches:
    """The batch of every step, as a function of the step alone."""

    conversations: Sequence[Conversation]
    epochs: int
    batch_size: int
    micro_batch_tokens: int
    packing: bool
    pad: int
    """Token id that fills rows."""
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one pass."""
        return -(-len(self.conversations) // self.batch_size)

    @property
    def steps(self) -> int:
        """Optimizer steps of all passes."""
        return self.epochs * self.steps_per_epoch

    def __call__(self, step: int) -> StepBatch:
        """The batch of this step, 0 the first."""
        chosen = self.conversations_of(step)
        rows = pack(chosen) if self.packing else [[conversation] for conversation in chosen]
        parts = [collate(part, self.pad) for part in micro_batches(rows, self.micro_batch_tokens)]
        return StepBatch(
            parts,
            sum(conversation.learnt for conversation in chosen),
            sum(len(conversation) for conversation in chosen),
        )

    def conversations_of(self, step: int) -> list[Conversation]:
        """The conversations that this step learns from."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = _order(len(self.conversations), self.seed, epoch)
        return [self.conversations[i] for i in order[place * self.batch_size : (place + 1) * self.batch_size]]


@lru_cache(maxsize=2)
def _order(length: int, seed: int, epoch: int) -> list[int]:
    return permutation(length, seed, "conversations", epoch)


def pack(conversations: Sequence[Conversation]) -> list[Row]:
    """First-fit decreasing: rows as long as the longest conversation, each conversation in the first row with room for it."""
    rows: list[list[Conversation]] = []
    room: list[int] = []
    length = max(len(conversation) for conversation in conversations)
    for conversation in sorted(conversations, key=len, reverse=True):
        place = next((i for i, free in enumerate(room) if free >= len(conversation)), None)
        if place is None:
            rows.append([conversation])
            room.append(length - len(conversation))
        else:
            rows[place].append(conversation)
            room[place] -= len(conversation)
    return list(rows)


def micro_batches(rows: Sequence[Row], tokens: int) -> Iterator[list[Row]]:
    """The rows, the longest first, in groups of at most `tokens` with padding; a row that is longer is a group of its own."""
    group: list[Row] = []
    for row in sorted(rows, key=_length, reverse=True):
        if group and (len(group) + 1) * _length(group[0]) > tokens:
            yield group
            group = []
        group.append(row)
    yield group


def collate(rows: Sequence[Row], pad: int) -> dict[str, Tensor]:
    """Inputs, labels and positions, [rows, longest row] each.

    Positions begin at 0 in every conversation, and in the padding behind them: by that transformers' attention masks keep
    them apart when there is no mask of padding.
    """
    length = max(map(_length, rows))
    inputs = torch.full((len(rows), length), pad, dtype=torch.long)
    labels = torch.full((len(rows), length), IGNORED, dtype=torch.long)
    positions = torch.arange(length).repeat(len(rows), 1)
    is_packed = any(len(row) > 1 for row in rows)
    for place, row in enumerate(rows):
        start = 0
        for conversation in row:
            end = start + len(conversation)
            inputs[place, start:end] = conversation.tokens
            learnt = start + len(conversation) - conversation.learnt
            labels[place, learnt:end] = inputs[place, learnt:end]
            positions[place, start:end] = torch.arange(len(conversation))
            start = end
        if is_packed:
            positions[place, start:] = torch.arange(length - start)
    return {"input_ids": inputs, "labels": labels, "position_ids": positions}


def _length(row: Row) -> int:
    return sum(len(conversation) for conversation in row)
