"""What an update works on: completions as token ids with what the loss needs to know about each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ponder.types import KeptTokens, Routing


@dataclass(frozen=True, slots=True)
class Row:
    """One completion that counts in the loss."""

    index: int
    """Its place in the step."""
    group: int
    prompt: Sequence[int]
    """Token ids; the same for all rows of a group."""
    completion: Sequence[int]
    """Token ids, end of sequence included; may be empty."""
    advantage: float = 0.0
    sampled_logprobs: Sequence[float] | None = None
    """Log-probabilities by the sampler, nats, one for each token; None when it gave none."""
    old_logprobs: Tensor | None = None
    """[tokens], float32; None stands for the current policy's own."""
    reference_logprobs: Tensor | None = None
    """[tokens], float32; None for no reference, or one that equals the old policy."""
    routing: Routing | None = None
    """The experts that worked on the prompt and all tokens of the completion but the last; None when they are of no use."""
    kept: KeptTokens | None = None
    """The tokens that probabilities are among at each place; None stands for all."""


def count_tokens(rows: Iterable[Row]) -> int:
    """Completion tokens of all rows."""
    return sum(len(row.completion) for row in rows)


def pad(sequences: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids [rows, longest], right-padded with 0, and the mask of what is real."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    mask = torch.arange(max(map(len, sequences), default=0)) < lengths[:, None]
    tokens = torch.zeros(mask.shape, dtype=torch.long)
    tokens[mask] = torch.tensor([token for sequence in sequences for token in sequence], dtype=torch.long)
    return tokens.to(device), mask.to(device)


def pad_values(sequences: Sequence[Tensor], mask: Tensor) -> Tensor:
    """Per-token float32 values [rows, tokens], 0 where `mask` is false."""
    padded = torch.zeros(mask.shape, dtype=torch.float32, device=mask.device)
    padded[mask] = torch.cat(list(sequences)).to(mask.device) if sequences else padded.new_zeros(0)
    return padded


def pad_kept(kept: Sequence[KeptTokens], length: int) -> Tensor:
    """Token ids [rows, length, most]: what was kept for each token, -1 where there are fewer."""
    padded = torch.full((len(kept), length, max((max(of.counts, default=0) for of in kept), default=0)), -1)
    for row, of in enumerate(kept):
        counts = torch.tensor(of.counts, dtype=torch.long)
        places = torch.arange(padded.shape[2]) < counts[:, None]
        padded[row, : len(counts)][places] = torch.tensor(of.token_ids, dtype=torch.long)
    return padded
