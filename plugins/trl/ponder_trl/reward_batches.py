"""Which comparisons a step of `reward_model` learns from, and how they lie in its tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ponder.randomness import permutation
from ponder_trl.comparisons import Comparison
from ponder_trl.step_trainer import StepBatch


@dataclass(frozen=True, kw_only=True)
class RewardBatches:
    """The batch of every step, as a function of the step alone."""

    comparisons: Sequence[Comparison]
    epochs: int
    batch_size: int
    micro_batch_size: int
    pad: int
    """Token id that fills rows."""
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one pass."""
        return -(-len(self.comparisons) // self.batch_size)

    @property
    def steps(self) -> int:
        """Optimizer steps of all passes."""
        return self.epochs * self.steps_per_epoch

    @property
    def tokens(self) -> int:
        """Tokens read in all passes, padding not counted."""
        return self.epochs * sum(comparison.tokens for comparison in self.comparisons)

    def __call__(self, step: int) -> StepBatch:
        """The batch of this step, 0 the first."""
        rows = self.rows_of(step)
        # The trainer takes the mean over the parts' losses, so that all parts have to be of one size.
        size = next(n for n in range(min(self.micro_batch_size, len(rows)), 0, -1) if len(rows) % n == 0)
        parts = [collate(rows[start : start + size], self.pad) for start in range(0, len(rows), size)]
        return StepBatch(parts, items=len(rows), tokens=sum(row.tokens for row in rows))

    def rows_of(self, step: int) -> list[Comparison]:
        """The comparisons that this step learns from, those of like length side by side."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = _order(len(self.comparisons), self.seed, epoch)
        chosen = order[place * self.batch_size : (place + 1) * self.batch_size]
        return sorted((self.comparisons[i] for i in chosen), key=lambda comparison: comparison.tokens)


@lru_cache(maxsize=2)
def _order(length: int, seed: int, epoch: int) -> list[int]:
    return permutation(length, seed, "comparisons", epoch)


def collate(rows: Sequence[Comparison], pad: int) -> dict[str, Tensor]:
    """`input_ids` and `attention_mask` [responses, longest], right-padded.

    Of pairs, as TRL's trainer reads them, first all better responses and then all worse ones; of labelled responses with their
    `labels` [responses].
    """
    sequences = [torch.tensor(row.better) for row in rows] + [torch.tensor(row.worse) for row in rows if row.worse]
    inputs = {
        "input_ids": pad_sequence(sequences, batch_first=True, padding_value=pad),
        "attention_mask": pad_sequence([torch.ones_like(sequence) for sequence in sequences], batch_first=True),
    }
    return inputs if rows[0].worse else {**inputs, "labels": torch.tensor([row.label for row in rows])}
